# dcam doctor: what it tells; a library that computes wrongly is found, and refused by train and serve.
. "$(dirname "$0")/common.sh"

expect 0 doctor --size 64 --threads 2
for line in dcam processor memory precision libraries limits disk kernels; do out_has "^$line +[^ ]"; done
out_has 'oneDNN [0-9]+\.[0-9]+'
out_has 'libtiff 4\.'
out_has '[0-9]+ checked against plain C, all right'
grep -q WRONG out && fail "a right machine is called wrong"
expect 0 doctor --size 64 --verbose --folder nowhere
out_has '^disk +nowhere: cannot be looked at'
out_has '^right +detection int8 '
out_has '^right +training +f32 +backward weights '

expect 0 doctor --json --size 96x64 --folder /
same "wrong" 0 "$("$json" out wrong)"
grep -q '"amx_refused": ' out || fail "nothing of refused AMX"
same "folder" / "$("$json" out disk folder)"
[ "$("$json" out processor cores)" -ge 1 ] || fail "no cores"
[ "$("$json" out memory usable_bytes)" -gt 1000000 ] || fail "no memory"
[ "$(grep -c '"right": true' out)" -ge 40 ] || fail "few checks"
case $("$json" out precision auto) in f32 | bf16) ;; *) fail "precision" ;; esac
refuse 2 'multiples of 32' doctor --size 100
refuse 2 'one argument too many' doctor something

# A library whose operations do nothing.
if [ -n "${DCAM_TEST_BROKEN:-}" ]; then
    make_data
    LD_PRELOAD=$DCAM_TEST_BROKEN
    export LD_PRELOAD
    expect 6 doctor --size 64
    one_error
    err_has 'this machine computes wrongly'
    out_has '^WRONG +detection int8 '
    out_has 'kernels +[0-9]+ of [0-9]+ are WRONG'
    expect 6 doctor --size 64 --json
    [ "$("$json" out wrong)" -ge 5 ] || fail "too few found"
    refuse 6 'computes wrongly.*dcam doctor' train data -o model --teacher random:1 --epochs 1 --size 64
    is_absent model
    refuse 6 'computes wrongly.*dcam doctor' pretrain -o teacher --classes 4 --size 32 --batch 4 --steps 1
    is_absent teacher
    # Before it looks at the model. In int8, as bf16 may need nothing of oneDNN (Zen 4).
    if "$dcam" help serve >/dev/null 2>&1; then
        refuse 6 'computes wrongly.*dcam doctor' serve -m model --precision int8 --listen 127.0.0.1:0
    fi
    unset LD_PRELOAD
fi
finish
