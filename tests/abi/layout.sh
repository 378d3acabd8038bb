#!/bin/sh
# Sizes of the public structs, offset and size of each of their fields, and the values of the enumerators, made from the
# header and compared with layout.txt: layout.sh HEADER CC [--write]. A difference breaks programs that were built with an
# earlier header. If it is meant: raise SOVERSION in CMakeLists.txt (once a release), and write the list anew.
set -eu
header=$1
compiler=$2
folder=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One printf for each struct, field and enumerator. Comments go first; then declarations end at semicolons and list names
# with commas; a pointer to a function has its name in (*name).
awk '{
    kept = ""
    for (rest = $0; rest != "";) {
        at = index(rest, inside ? "*/" : "/*")
        if (!inside) kept = kept (at ? substr(rest, 1, at - 1) : rest)
        if (!at) break
        rest = substr(rest, at + 2)
        inside = !inside
    }
    print kept
}' "$header" | awk '
    function value(name) { printf "    printf(\"%%-40s %%d\\n\", \"%s\", (int)%s);\n", name, name }
    function field(name) {
        gsub(/\[.*|[* \t]/, "", name)
        printf "    printf(\"%%-40s %%zu, %%zu\\n\", \"%s.%s\", offsetof(%s, %s), sizeof ((%s *)0)->%s);\n", \
            struct, name, struct, name, struct, name
    }
    function fields(text,    n, parts, i) {
        if (text ~ /^[ \t]*$/) return
        if (match(text, /\(\*[a-z_0-9]+\)/)) { field(substr(text, RSTART + 2, RLENGTH - 3)); return }
        n = split(text, parts, ",")
        sub(/.*[ \t*]/, "", parts[1])
        for (i = 1; i <= n; i++) field(parts[i])
    }
    BEGIN { print "#include \"dcam.h\"\n#include <stdio.h>\nint main(void)\n{" }
    match($0, /^typedef struct [a-z_0-9]+ \{/) {
        struct = $3; text = ""
        printf "    printf(\"%%-40s %%zu bytes\\n\", \"%s\", sizeof(%s));\n", struct, struct
        next
    }
    /^typedef enum/ { enumeration = 1; next }
    /^} / { struct = ""; enumeration = 0; next }
    match($0, /X\(DCAM_[A-Z_]+,/) { value(substr($0, RSTART + 2, RLENGTH - 3)) }
    enumeration && match($0, /^ *DCAM_[A-Z_0-9]+/) { name = substr($0, RSTART, RLENGTH); gsub(/ /, "", name); if (name !~ /_(LIST|ENUM)$/) value(name) }
    struct != "" {
        text = text " " $0
        while ((i = index(text, ";")) > 0) {
            fields(substr(text, 1, i - 1))
            text = substr(text, i + 1)
        }
    }
    END { print "    return 0;\n}" }' >"$work/layout.c"

"$compiler" -std=c17 -I "$(dirname "$header")" -o "$work/layout" "$work/layout.c"
"$work/layout" >"$work/found"
# A declaration that the script did not understand would be missing from both lists without a word.
structs=$(grep -c '^typedef struct [a-z_0-9]* {' "$header")
[ "$(grep -c ' bytes$' "$work/found")" -eq "$structs" ] || { echo "FAILED: not every struct was understood"; exit 1; }
[ "$(grep -c '^[a-z_]*\.' "$work/found")" -ge $((4 * structs)) ] || { echo "FAILED: fields are missing"; exit 1; }

if [ "${3:-}" = --write ]; then
    cp "$work/found" "$folder/layout.txt"
elif [ "$(getconf LONG_BIT)" != 64 ]; then
    echo "the list is of machines with 64 bits"
    exit 77
elif ! diff -u "$folder/layout.txt" "$work/found"; then
    echo "FAILED: the public structs or enumerators changed; $0 says what to do"
    exit 1
fi
