# common.sh - sourced by every test_*.sh: `. "$(dirname "$0")/common.sh"`.
# A test is called with the dcam program and the JSON helper (json.c). It runs
# in an empty folder of its own, which is removed at its end. `expect` runs
# dcam and compares the exit code; what it printed is then in the files out
# and err. A failed check prints and is counted; `finish` ends the test.
set -u
dcam=$1
json=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/dcam-test.XXXXXX") || exit 1
cleanup() { rm -rf "$work"; }
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1
failures=0

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
    [ -s err ] && sed 's/^/    err: /' err | head -n 20
    [ -s out ] && sed 's/^/    out: /' out | head -n 20
}

# expect CODE ARGUMENTS...
expect() {
    wanted=$1
    shift
    last="dcam $*"
    "$dcam" "$@" >out 2>err </dev/null
    code=$?
    [ "$code" -eq "$wanted" ] || fail "$last: exit code $code, not $wanted"
}

# The extended regular expression must be found in what the last command printed.
out_has() { grep -Eq -- "$1" out || fail "$last: standard output lacks '$1'"; }
err_has() { grep -Eq -- "$1" err || fail "$last: standard error lacks '$1'"; }
out_empty() { [ ! -s out ] || fail "$last: standard output should be empty"; }

# Exactly one line on standard error, and it begins with "dcam: ".
one_error() {
    [ "$(wc -l <err)" -eq 1 ] && grep -q '^dcam: .' err || fail "$last: not one error line"
}

# refuse CODE PATTERN ARGUMENTS...: one line that says why, and no result.
refuse() {
    refuse_code=$1
    refuse_pattern=$2
    shift 2
    expect "$refuse_code" "$@"
    one_error
    err_has "$refuse_pattern"
    out_empty
}

# same WHAT WANTED GOT
same() { [ "$2" = "$3" ] || fail "$1: '$3', not '$2'"; }
is_file() { [ -s "$1" ] || fail "$last: $1 is missing or empty"; }
is_absent() { [ ! -e "$1" ] || fail "$last: $1 should not be there"; }

# A data set of two classes that trains in a moment, in the folder data.
make_data() {
    "$dcam" synth -o data --seed 3 --size 64 --classes 2 --train 8 --test-good 3 --test-defective 4 >/dev/null 2>err || {
        fail "synth"
        finish
    }
}

# data and a model of it, model.safetensors.
make_model() {
    make_data
    "$dcam" train data -o model.safetensors --teacher random:1 --size 64 --epochs 2 --batch 4 --seed 1 --quiet \
        >out 2>err || {
        fail "train"
        finish
    }
}

# safetensors HEADER DATA-BYTES: eight bytes of length, header, zeros.
length_bytes() {
    printf "$(printf '\\%03o\\%03o\\%03o\\000\\000\\000\\000\\000' $(($1 % 256)) $(($1 / 256 % 256)) $(($1 / 65536)))"
}
safetensors() {
    length_bytes ${#1}
    printf '%s' "$1"
    head -c "$2" /dev/zero
}

# The first file that matches, or fails.
first_of() {
    for found in "$@"; do
        [ -f "$found" ] && { echo "$found"; return; }
    done
    echo "no file matches $1" >&2
}

skip() {
    echo "SKIPPED: $*"
    exit 77
}

finish() {
    [ "$failures" -eq 0 ] || { echo "$failures checks failed"; exit 1; }
    exit 0
}
