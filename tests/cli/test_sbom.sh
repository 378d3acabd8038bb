# scripts/sbom: valid SPDX, with every library that the binary needs, and the hash of what is loaded.
sbom=$(cd "$(dirname "$0")/../.." && pwd)/scripts/sbom
. "$(dirname "$0")/common.sh"
command -v readelf >/dev/null 2>&1 || skip "readelf is not installed"

last="sbom $dcam"
SOURCE_DATE_EPOCH=1 "$sbom" "$dcam" >out 2>err || fail "$last: exit code $?"
at() { "$json" out "$@" 2>/dev/null; }
same "version of SPDX" SPDX-2.3 "$(at spdxVersion)"
same "licence of the data" CC0-1.0 "$(at dataLicense)"
same "document" SPDXRef-DOCUMENT "$(at SPDXID)"
at documentNamespace | grep -q '^urn:.' || fail "no namespace"
same "date, that of SOURCE_DATE_EPOCH" 1970-01-01T00:00:01Z "$(at creationInfo created)"
at creationInfo creators 0 | grep -q '^Tool: ' || fail "no creator"

# Each package has what SPDX asks for, its name is needed or compiled in, and the document's relations know it.
readelf -d "$dcam" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | LC_ALL=C sort >needed
i=0
: >listed
while name=$(at packages $i name) && [ -n "$name" ]; do
    for key in SPDXID versionInfo downloadLocation licenseDeclared copyrightText; do
        [ -n "$(at packages $i $key)" ] || fail "$name has no $key"
    done
    at packages $i SPDXID | grep -Eq '^SPDXRef-[A-Za-z0-9.-]+$' || fail "$name: SPDXID"
    grep -q "\"relatedSpdxElement\": \"$(at packages $i SPDXID)\"" out || fail "$name is in no relation"
    case $(at packages $i primaryPackagePurpose) in
    LIBRARY) echo "$name" >>listed
        at packages $i checksums 0 checksumValue | grep -Eq '^[0-9a-f]{64}$' || fail "$name has no hash" ;;
    APPLICATION) same "hash of dcam" "$(sha256sum "$dcam" | cut -d' ' -f1)" "$(at packages $i checksums 0 checksumValue)"
        same "version of dcam" "$("$dcam" --version)" "dcam $(at packages $i versionInfo)" ;;
    esac
    i=$((i + 1))
done
LC_ALL=C sort listed | cmp -s - needed || fail "the list of libraries is not what the binary needs: $(LC_ALL=C sort listed | diff - needed)"
[ "$(wc -l <needed)" -ge 5 ] || fail "too few libraries are needed"

# Of the file that is named, not of a program of that name on the PATH.
cp "$dcam" dcam
mkdir other
printf '#!/bin/sh\necho dcam 99.9\n' >other/dcam
chmod +x other/dcam
PATH=$PWD/other:$PATH "$sbom" dcam >out 2>err || fail "$sbom dcam: exit code $?: $(cat err)"
same "version of the file in this folder" "$("$dcam" --version)" "dcam $(at packages 0 versionInfo)"
printf '#!/bin/sh\nexit 1\n' >other/silent
chmod +x other/silent
"$sbom" other/silent >out 2>err && fail "a list of a program without a version"
"$sbom" nowhere >out 2>err
[ $? -eq 2 ] || fail "a list of a file that is not there: $(cat err)"

"$sbom" "$0" >out 2>err && fail "a list of a file that is no binary"
finish
