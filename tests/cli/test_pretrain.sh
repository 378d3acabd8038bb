# Pre-training: a teacher from drawn pictures, stopped and resumed, taken by train; what is wrong is refused.
. "$(dirname "$0")/common.sh"

tiny="--classes 4 --size 32 --batch 4 --steps 6 --seed 2 --threads 1 --precision f32"

# shellcheck disable=SC2086 # many words
expect 0 pretrain -o whole.safetensors $tiny
out_has '^wrote whole.safetensors$'
err_has '^step 6/6  loss [0-9.]+  right [0-9.]+ %'
[ "$(wc -c <whole.safetensors)" -lt 6000000 ] || fail "the teacher is larger than 6 MB"
# shellcheck disable=SC2086
expect 0 pretrain -o twin.safetensors $tiny -q
[ ! -s err ] || fail "--quiet prints"
expect 0 info whole.safetensors --json
cp out whole.json
same "kind" teacher "$("$json" whole.json kind)"
grep -q 'accuracy' whole.json || fail "the record is missing"

# The seconds of the record differ; the weights do not.
tensors() { tail -c 5500000 "$1" | cksum; }
same "same seed" "$(tensors whole.safetensors)" "$(tensors twin.safetensors)"

# A seed that no number of JSON holds here.
# shellcheck disable=SC2086
expect 0 pretrain -o large.safetensors $tiny --steps 1 --seed 18446744073709551615 -q
expect 0 info large.safetensors --json
grep -Fq '\"seed\":\"18446744073709551615\"' out || fail "the record lacks the seed"

# Made longer on the plateau: as if it had been planned so.
# shellcheck disable=SC2086
expect 0 pretrain -o half.safetensors $tiny --steps 4 --falling 0 -q --checkpoint state
# shellcheck disable=SC2086
expect 0 pretrain -o longer.safetensors $tiny -q --checkpoint state --resume
same "made longer" "$(tensors whole.safetensors)" "$(tensors longer.safetensors)"
expect 0 info state
out_has 'steps_done: 6'

# A longer run that went on from a plateau's end lies where a run anew would keep its own: it is not written over. What
# no run has gone on from is.
# shellcheck disable=SC2086
expect 0 pretrain -o first.safetensors $tiny -q --checkpoint first
is_file first.plateau
# shellcheck disable=SC2086
expect 0 pretrain -o first.safetensors $tiny -q --checkpoint first
# shellcheck disable=SC2086
"$dcam" pretrain -o long.safetensors $tiny --steps 100000 -q --checkpoint first.plateau --checkpoint-steps 1 --resume >out 2>err &
waited=0
until "$dcam" info first.plateau 2>/dev/null | grep -q 'steps: 100000' || [ $waited -ge 600 ]; do
    sleep 0.1
    waited=$((waited + 1))
done
kill -TERM $!
wait $!
sum=$(cksum first.plateau)
# shellcheck disable=SC2086
refuse 2 'first.plateau: holds a longer run, stopped after step [0-9]+ of 100000' pretrain -o t $tiny -q --checkpoint first
same "checkpoint" "$sum" "$(cksum first.plateau)"

# A teacher for train.
make_data
expect 0 train data -o model.safetensors --teacher whole.safetensors --size 64 --epochs 1 --batch 4 -q
expect 0 info model.safetensors
out_has 'teacher: whole.safetensors sha256:[0-9a-f]{64}'

# The teacher in the program: the default, by its name too, and as a file.
expect 0 train data -o default.safetensors --size 64 --epochs 1 --batch 4 --seed 1 --threads 1
err_has 'teacher: procedural sha256:[0-9a-f]{64}'
expect 0 info default.safetensors
out_has 'teacher: procedural sha256:[0-9a-f]{64}'
expect 0 teacher import procedural -o extracted.safetensors
expect 0 info extracted.safetensors
out_has 'source: procedural sha256:[0-9a-f]{64}'
expect 0 train data -o by_file.safetensors --teacher extracted.safetensors --size 64 --epochs 1 --batch 4 --seed 1 --threads 1 -q
"$dcam" info default.safetensors --json >a.json
"$dcam" info by_file.safetensors --json >b.json
same "thresholds" "$("$json" a.json classes)" "$("$json" b.json classes)"
# A teacher file's import keeps where its weights came from, and with it the weight of the memory.
expect 0 teacher import extracted.safetensors -o again.safetensors
expect 0 info again.safetensors
out_has 'source: procedural sha256:[0-9a-f]{64}'
# A file of that name is taken only with a folder before it.
cp whole.safetensors procedural
expect 0 train data -o c.safetensors --teacher ./procedural --size 64 --epochs 1 --batch 4 -q
expect 0 info c.safetensors
out_has "teacher: procedural sha256:$(sha256sum procedural | cut -d' ' -f1)"

# A sheet of pictures.
expect 0 pretrain --pictures sheet.png --size 32
[ "$(head -c 4 sheet.png | tail -c 3)" = PNG ] || fail "the sheet is no PNG"

# What is wrong.
refuse 2 'needs -o TEACHER' pretrain
refuse 2 'multiple of 32' pretrain -o t --size 40
refuse 2 '--resume needs --checkpoint' pretrain -o t --resume
refuse 2 "'0' is not a whole number from 1" pretrain -o t --steps 0
# shellcheck disable=SC2086
refuse 3 'no such checkpoint' pretrain -o t $tiny --checkpoint nowhere --resume -q
# shellcheck disable=SC2086
refuse 3 'made with seed 2, this run has 9' pretrain -o t $tiny --seed 9 --checkpoint state --resume -q
# shellcheck disable=SC2086
refuse 3 'not a checkpoint of dcam pretrain' pretrain -o t $tiny --checkpoint model.safetensors --resume -q
refuse 3 'nowhere/t' pretrain -o nowhere/t
refuse 3 'nowhere/s.png' pretrain --pictures nowhere/s.png
mkdir folder taken.plateau
refuse 3 'folder: is a folder' pretrain --pictures folder
# Now, not where the learning rate begins to fall.
# shellcheck disable=SC2086
refuse 3 'taken.plateau: is a folder' pretrain -o t $tiny --checkpoint taken -q
is_absent taken
# shellcheck disable=SC2086
expect 0 pretrain -o level $tiny --falling 0 --checkpoint taken -q
is_absent t

# More memory than the machine has, where it has less than this needs (64 GiB).
expect 0 doctor --json --size 64
if [ "$("$json" out memory usable_bytes)" -lt 60000000000 ]; then
    refuse 5 'the limit is [0-9]+ MiB; a batch of [0-9]+ would fit' pretrain -o t --size 512 --batch 1024 --classes 10000 --steps 1
fi
is_absent t
finish
