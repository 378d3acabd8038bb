# What builders call: the Makefile with folders whose names have blanks, install-deps where there is no apt, and checks that
# cannot look at what they should.
source=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/common.sh"
command -v make >/dev/null 2>&1 || skip "make is not installed"

# Nothing of the make that runs these tests: its folders are not to be removed.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES BUILD BUILD_SANITIZED PREFIX CMAKE_FLAGS

# The folder that is named, not the folders "a" and "b" of somebody else.
mkdir a b 'a b' 'a b-sanitized'
last="make clean"
make -f "$source/Makefile" BUILD='a b' clean >out 2>err || fail "$last: exit code $?"
[ -d a ] && [ -d b ] && [ ! -e 'a b' ] && [ ! -e 'a b-sanitized' ] || fail "$last: left $(echo *)"
make -f "$source/Makefile" BUILD=b BUILD_SANITIZED= clean >out 2>err || fail "$last: exit code $?"
[ -d a ] && [ ! -e b ] || fail "$last: left $(echo *)"

# Each word that cmake gets, a line each.
mkdir stubs
printf '#!/bin/sh\nfor word; do echo "$word"; done\n' >stubs/cmake
chmod +x stubs/cmake
last="make install"
PATH=$PWD/stubs:$PATH make -f "$source/Makefile" BUILD='a b' PREFIX='/opt/our tools' install >out 2>err || fail "$last: exit code $?"
out_has '^a b$'
out_has '^-DCMAKE_INSTALL_PREFIX=/opt/our tools$'

# What the build finds is not called missing: stb has a file for pkg-config on Debian only.
mkdir tools modules
for tool in sh cc make cmake pkg-config curl sed cat; do
    path=$(command -v $tool) && ln -s "$path" "tools/$tool"
done
for module in libturbojpeg spng libwebp libtiff-4 zlib jansson libmicrohttpd libcurl cmocka; do
    printf 'Name: %s\nDescription: %s\nVersion: 9\n' $module $module >modules/$module.pc
done
last="install-deps without apt"
if echo '#include <stb/stb_image.h>' | cc -E - >/dev/null 2>&1 && [ -x tools/curl ] && [ -x tools/cmake ]; then
    PATH=$PWD/tools PKG_CONFIG_LIBDIR=$PWD/modules "$source/scripts/install-deps" >out 2>err || fail "$last: exit code $?"
fi
rm modules/spng.pc
PATH=$PWD/tools PKG_CONFIG_LIBDIR=$PWD/modules "$source/scripts/install-deps" >out 2>err && fail "$last: finds no libspng, and says nothing"
err_has '^    spng$'

# Of checks: what could not be looked at is not told as if it were right, or as a tool that is missing (2).
mkdir empty broken failing
printf '#!/bin/sh\nexit 70\n' >broken/dcam
printf '#!/bin/sh\nexit 1\n' >failing/cmake
printf '#!/bin/sh\nexit 0\n' >failing/valgrind
chmod +x broken/dcam failing/*
ends() {
    wanted=$1
    shift
    last=$*
    PATH=$PWD/failing:$PATH "$@" >out 2>err
    code=$?
    [ $code -eq "$wanted" ] || fail "$last: exit code $code, not $wanted"
}
ends 1 "$source/scripts/check-allocations" "$PWD/empty"
ends 1 "$source/scripts/check-valgrind" "$PWD/broken"
! command -v gcc >/dev/null || BUILD_ANALYSIS=$PWD/empty ends 1 "$source/scripts/check-analysis" gcc
! command -v clang >/dev/null || ends 2 "$source/scripts/check-clang" "$PWD/empty"
# Nothing of what it names is built, but for a dcam that says yes to all.
mkdir willing
printf '#!/bin/sh\nexit 0\n' >willing/dcam
chmod +x willing/dcam
ends 1 "$source/scripts/check-valgrind" "$PWD/willing"

# A finding is not lost where the next tool is missing, and an analyser that dies has not found nothing.
for tool in dirname nproc; do
    path=$(command -v $tool) && ln -s "$path" "tools/$tool"
done
printf '#!/bin/sh\necho "a finding"\nexit 1\n' >tools/cppcheck
chmod +x tools/cppcheck
last="check-analysis without clang-tidy"
PATH=$PWD/tools "$source/scripts/check-analysis" cppcheck tidy >out 2>err
same "$last: exit code" 1 $?
err_has 'clang-tidy is missing'
PATH=$PWD/tools "$source/scripts/check-analysis" tidy >out 2>err
same "$last, which is all: exit code" 2 $?
mkdir dying configured
printf '#!/bin/sh\nexit 0\n' >dying/cmake
printf '#!/bin/sh\nkill -KILL $$\n' >dying/clang-tidy
chmod +x dying/*
printf '"command": "cc -o main.o -c main.c",\n"file": "%s/cli/main.c"\n' "$source" >configured/compile_commands.json
last="check-analysis with a clang-tidy that dies"
PATH=$PWD/dying:$PATH ANALYSED_SOURCES=cli/main.c BUILD_ANALYSIS=$PWD/configured "$source/scripts/check-analysis" tidy >out 2>err
same "$last: exit code" 1 $?
finish
