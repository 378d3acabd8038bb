#!/bin/sh
# What dcam.pc says is enough to link a program with the static library, every object of it: package.sh DCAM.PC LIBDCAM.A
# CC [FLAG...]. The example is built as one that is installed would be, with the header and the library of this tree.
set -eu
package=$1
library=$2
shift 2
source=$(cd "$(dirname "$0")/../.." && pwd)
command -v pkg-config >/dev/null 2>&1 || { echo "pkg-config is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "s|^libdir=.*|libdir=$work|; s|^includedir=.*|includedir=$source/include|" "$package" >"$work/dcam.pc"
cp "$library" "$work/libdcam.a"
PKG_CONFIG_PATH=$work
export PKG_CONFIG_PATH

# CMakeLists.txt has the one, dcam.h the other.
version=$(pkg-config --modversion dcam)
grep -q "^#define DCAM_VERSION \"$version\"\$" "$source/include/dcam.h" || { echo "FAILED: dcam.pc is of $version, dcam.h is not"; exit 1; }

flags=$(pkg-config --static --cflags --libs dcam)
# Whole: the linker leaves out objects that nothing asks for, and what they need with them.
# shellcheck disable=SC2086 # words
"$@" "$source/examples/detect.c" -Wl,--whole-archive "$work/libdcam.a" -Wl,--no-whole-archive $flags -o "$work/detect" ||
    { echo "FAILED: dcam.pc does not name all that libdcam.a needs: $flags"; exit 1; }
# Libraries that do not lie where the system looks for them.
folders=$(pkg-config --static --libs-only-L dcam | sed 's/-L//g; s/ *$//; s/  */:/g')
code=0
LD_LIBRARY_PATH=$folders:${LD_LIBRARY_PATH:-} "$work/detect" 2>"$work/err" || code=$?
[ $code -eq 2 ] && grep -q '^usage: ' "$work/err" || { echo "FAILED: the program ends with $code"; cat "$work/err"; exit 1; }
