#!/bin/sh
# The functions that libdcam.so exports: symbols.sh LIBRARY NM STATIC. They are those of symbols.txt. None is gone: a program that
# was linked with an earlier version still starts. None is there that is not meant to be: an internal function that is
# exported can be replaced by one of the program's. What is new in dcam.h is added to the list by hand. An archive hides
# nothing: the static library's names at least begin with dcam_, or a function of the program could not be called net_input.
set -eu
list=$(dirname "$0")/symbols.txt
found=$(mktemp)
trap 'rm -f "$found"' EXIT
"$2" -D --defined-only "$1" | awk '$2 ~ /[A-Z]/ { print $3 }' | LC_ALL=C sort >"$found"
code=0
gone=$(LC_ALL=C sort "$list" | LC_ALL=C comm -23 - "$found")
[ -z "$gone" ] || { echo "FAILED: no longer exported: $gone"; code=1; }
new=$(LC_ALL=C sort "$list" | LC_ALL=C comm -13 - "$found" | grep -v '^_init$\|^_fini$' || true)
[ -z "$new" ] || { echo "FAILED: exported, but not in symbols.txt: $new"; code=1; }
others=$("$2" -g --defined-only "$3" | awk 'NF == 3 && $3 !~ /^(dcam)?_/ { print $3 }')
[ "$("$2" -g --defined-only "$3" | grep -c ' T dcam_')" -gt 100 ] || { echo "FAILED: $2 sees hardly a function in $3"; code=1; }
[ -z "$others" ] || { echo "FAILED: names of $3 that are not dcam_*:" $others; code=1; }
exit $code
