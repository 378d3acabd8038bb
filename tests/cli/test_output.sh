# Outputs that cannot be written: the exit code, one line, nothing
# half-written, and the old file intact.
. "$(dirname "$0")/common.sh"
make_model
good=$(first_of data/*/test/good/*.png)
sum=$(cksum model.safetensors)

# A folder that is not there, or is a file. Said before any training.
for place in nowhere/m model.safetensors/m /proc/m; do
    refuse 3 'cannot create' train data -o $place --teacher random:1 --size 64 --epochs 100000 -q
done
refuse 3 'data: is a folder; name the file' train data -o data --teacher random:1 --size 64 --epochs 100000 -q
refuse 3 'nowhere/c' train data -o m --teacher random:1 --size 64 --epochs 100000 -q --checkpoint nowhere/c
is_absent m
refuse 3 'model.safetensors: cannot create the folder' train data -o model.safetensors --one-class --teacher random:1 -q
refuse 3 'nowhere/f.csv' eval data -m model.safetensors --csv nowhere/f.csv
refuse 3 'cannot create the folder' detect "$good" -m model.safetensors -o model.safetensors/over
refuse 3 'cannot create the folder' detect "$good" -m model.safetensors --map-npy /proc/maps/x
refuse 3 'nowhere/t' calibrate data -m model.safetensors -o nowhere/t -q
refuse 3 'nowhere/t' teacher import model.safetensors -o nowhere/t
refuse 3 '' synth -o model.safetensors
refuse 3 'not empty' synth -o data

# A pipe or a device is not replaced; a link to the model in use stays one, and the model keeps its permissions.
mkfifo pipe
refuse 3 'pipe: is a device, a pipe' export -m model.safetensors --to safetensors -o pipe
refuse 3 'pipe: is a device, a pipe' eval data -m model.safetensors --csv pipe
[ -p pipe ] || fail "the pipe is gone"
cp model.safetensors mine && chmod 640 mine && ln -s mine current
expect 0 calibrate data -m current --false-alarm-rate 0.3 -q
[ -L current ] || fail "calibrate: the link is gone"
same "permissions" 640 "$(stat -c %a mine)"
cmp -s mine model.safetensors && fail "calibrate through a link changed nothing"

# Closed standard descriptors: nothing that is said gets into a file.
cp -r data spoilt
echo "no image" >"$(first_of spoilt/*/test/good/*.png)"
"$dcam" eval spoilt -m model.safetensors --report page --resamples 0 -q >/dev/null 2>&-
same "exit code without standard error" 3 $?
same "beginning of the page" '<!doctype html>' "$(head -n 1 page/index.html | tr A-Z a-z)"
"$dcam" eval data -m model.safetensors --csv fine.csv --resamples 0 -q >/dev/null
"$dcam" eval data -m model.safetensors --csv closed.csv --resamples 0 -q >&- 2>err
same "exit code without standard output" 3 $?
cmp -s fine.csv closed.csv || [ ! -e closed.csv ] || fail "what was printed got into the file"

# A text of any length is printed whole.
long=$(printf '%06000d' 7)
safetensors "{\"__metadata__\":{\"format\":\"dcam-checkpoint-1\",\"note\":\"$long\",\"k$long\":\"x\"}}" 0 >long
expect 0 info long
grep -qx "  note: $long" out || fail "$last: a long text is cut"
grep -qx "  k$long: x" out || fail "$last: a long key is cut"

# No permission, where that means something.
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked
    chmod 500 locked
    refuse 3 'locked/m: cannot create' train data -o locked/m --teacher random:1 --size 64 -q
    refuse 3 'locked' detect "$good" -m model.safetensors -o locked/over
    chmod 700 locked
fi

# Standard output on a full disk.
if [ -c /dev/full ]; then
    for command in 'info model.safetensors' 'eval data -m model.safetensors --json' 'help train' '--version' \
        "detect $good -m model.safetensors"; do
        # shellcheck disable=SC2086 # words
        "$dcam" $command -q >/dev/full 2>err </dev/null
        code=$?
        last="dcam $command >/dev/full"
        [ "$command" = --version ] && { "$dcam" --version >/dev/full 2>err; code=$?; }
        [ $code -eq 5 ] || fail "$last: exit code $code, not 5"
        one_error
        err_has 'standard output'
    done
fi

# A limit on the size of files: as a full disk, and nothing is left behind.
mkdir limited
for command in "export -m model.safetensors --to safetensors -o limited/m" "synth -o limited/data --size 512"; do
    last="dcam $command with ulimit -f"
    # shellcheck disable=SC2086 # words
    (ulimit -f 100 && exec "$dcam" $command -q) >out 2>err
    same "exit code of $last" 5 $?
    one_error
    err_has 'larger than a file may be here; raise the limit \(ulimit -f\)'
    same "left behind" "" "$(ls -A limited)"
done
last="dcam help --man with ulimit -f"
(ulimit -f 4 && exec "$dcam" help --man) >out 2>err
same "exit code of $last" 5 $?
one_error
err_has 'standard output'

# A pipe that another program has set not to block, and whose reader is slow.
dd oflag=nonblock count=0 2>/dev/null </dev/null >/dev/null && {
    head -c 65000 /dev/zero # nearly what a pipe holds
    dd oflag=nonblock count=0 2>/dev/null </dev/null
    "$dcam" help --man 2>err
    echo $? >code
} | {
    sleep 0.5
    cat >all
}
last="dcam help --man"
same "exit code of a pipe that does not block" 0 "$(cat code)"
"$dcam" help --man >out
tail -c +65001 all | cmp -s - out || fail "not all of it came through a pipe that does not block"

# A full disk for files: a file system of 256 KiB, where we may mount one.
mkdir small
if mount -t tmpfs -o size=256k tmpfs small 2>/dev/null; then
    cleanup() {
        umount "$work/small" 2>/dev/null
        rm -rf "$work"
    }
    refuse 5 'small/m: .*will be needed' train data -o small/m --teacher random:1 --size 64 --epochs 1 --batch 4 -q
    same "left behind" "" "$(ls -A small)"
    refuse 5 '[Nn]o space' calibrate data -m model.safetensors -o small/c -q
    same "left behind" "" "$(ls -A small)"
    expect 5 synth -o small/data
    one_error
    expect 5 train data -o m --teacher random:1 --size 64 --epochs 2 --batch 4 -q --checkpoint small/c
    one_error
    is_absent m
    rm -rf small/*
    same "left behind" "" "$(ls -A small)"
    # Overlays until it is full: every one that is there is whole.
    expect 5 detect data -m model.safetensors --map-npy small/maps -q -o small/over
    one_error
    for file in $(find small -name '*.npy'); do
        [ $(($(wc -c <"$file"))) -gt 16384 ] || fail "$file is cut off"
    done
    same "temporary files" "" "$(find small -type f ! -name '*.npy' ! -name '*.png')"
else
    echo "SKIPPED part: no file system can be mounted here, so no full disk for files"
fi
same "the model" "$sum" "$(cksum model.safetensors)"
finish
