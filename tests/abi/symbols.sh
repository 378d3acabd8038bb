#!/bin/sh
# The functions that libdcam.so exports: symbols.sh LIBRARY NM. Every name begins with dcam_, and none of symbols.txt is
# gone: a program that was linked with an earlier version still starts. New names are added to the list by hand.
set -eu
list=$(dirname "$0")/symbols.txt
found=$(mktemp)
trap 'rm -f "$found"' EXIT
"$2" -D --defined-only "$1" | awk '$2 ~ /[A-Z]/ { print $3 }' | LC_ALL=C sort >"$found"
code=0
foreign=$(grep -v '^dcam_' "$found" | grep -v '^_init$\|^_fini$' || true)
[ -z "$foreign" ] || { echo "FAILED: exported, but not dcam_*: $foreign"; code=1; }
gone=$(LC_ALL=C sort "$list" | LC_ALL=C comm -23 - "$found")
[ -z "$gone" ] || { echo "FAILED: no longer exported: $gone"; code=1; }
new=$(LC_ALL=C sort "$list" | LC_ALL=C comm -13 - "$found")
[ -z "$new" ] || echo "new since symbols.txt was written: $new"
exit $code
