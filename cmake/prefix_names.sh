#!/bin/sh
# Gives every global name of a static library the prefix dcam_: prefix_names.sh LIBRARY NM OBJCOPY. Layers call their own
# functions net_input or train_batch_of; in an archive such a name would meet one of the program that is linked with it.
set -eu
library=$1 nm=$2 objcopy=$3
names=$(mktemp)
trap 'rm -f "$names" "$library.prefixed"' EXIT
# Names with an underscore in front are the compiler's and the sanitizers'.
"$nm" -g --defined-only "$library" | awk 'NF == 3 && $3 !~ /^(dcam)?_/ { print $3, "dcam_" $3 }' | LC_ALL=C sort -u >"$names"
[ -s "$names" ] || exit 0
if "$objcopy" --redefine-syms="$names" "$library" "$library.prefixed"; then
    mv "$library.prefixed" "$library"
else # Objects for link-time optimisation.
    echo "warning: $library keeps names that a program's may meet: objcopy cannot change them" >&2
fi
