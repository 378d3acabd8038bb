# Ctrl-C in training: exit code 130, the checkpoint is whole, the message says
# how to go on, and going on gives the model that an undisturbed run gives.
. "$(dirname "$0")/common.sh"
make_data
options="--teacher random:1 --size 64 --epochs 6 --batch 4 --seed 5 --threads 1"

# interrupt_after PATTERN SIGNALS ARGUMENTS...: runs dcam and sends SIGNALS when standard error matches. The
# program is run in the foreground: a shell starts background jobs with SIGINT ignored.
interrupt_after() {
    pattern=$1
    signals=$2
    shift 2
    last="dcam $*"
    : >err
    rm -f pid
    (
        waited=0
        until grep -Eq "$pattern" err || [ $waited -ge 600 ]; do
            sleep 0.05
            waited=$((waited + 1))
        done
        for signal in $signals; do kill -"$signal" "$(cat pid)"; done
    ) &
    sh -c 'echo $$ >pid; exec "$@"' sh "$dcam" "$@" >out 2>err </dev/null
    code=$?
    wait
}

# shellcheck disable=SC2086 # words
interrupt_after 'epoch 2/' INT train data -o m $options --epochs 100000 --checkpoint state
same "exit code" 130 "$code"
err_has 'stopping after this step'
err_has '^dcam: interrupted after epoch [0-9]+ of 100000; the checkpoint state is whole: .*--resume'
is_absent m
is_file state
same "files" "data err out pid state" "$(ls | tr '\n' ' ' | sed 's/ $//')"

# A forgotten --resume does not write over it.
sum=$(cksum state)
# shellcheck disable=SC2086
refuse 2 'state: is the checkpoint of a run that was stopped after epoch [0-9]+ of 100000; .*--resume' train data -o m $options \
    --epochs 100000 --checkpoint state -q
same "checkpoint" "$sum" "$(cksum state)"

# Nor does another command that is given its name.
refuse 2 'state: is the checkpoint of a training that was stopped after epoch [0-9]+ of 100000; name another file' pretrain -o t \
    --size 32 --classes 2 --batch 2 --steps 1 --checkpoint state -q
same "checkpoint" "$sum" "$(cksum state)"
# What cannot be gone on from says what to do: leaving out --resume alone would be refused.
# shellcheck disable=SC2086
refuse 3 'made with seed 5, this run has 6: give the same again; to start anew, remove it and leave out --resume' train data -o m $options \
    --seed 6 --epochs 100000 --checkpoint state --resume -q

# Stopped again before an epoch is done, it says how many were done before.
# shellcheck disable=SC2086
interrupt_after 'going on after epoch' INT train data -o m $options --epochs 100000 --checkpoint state --resume
same "exit code" 130 "$code"
err_has 'interrupted after epoch [1-9][0-9]* of 100000'

# Without a checkpoint the message says what would have helped.
# shellcheck disable=SC2086
interrupt_after 'epoch 1/' TERM train data -o m $options --epochs 100000
same "exit code" 143 "$code"
err_has '^dcam: interrupted after epoch .* no model was written: with --checkpoint FILE'
is_absent m

# A second one ends at once, in the middle of a step, also where the first was another.
interrupt_after 'training on' 'INT TERM' train data -o m --teacher random:1 --size 256 --epochs 100000 --threads 1
same "exit code" 143 "$code"
same "notes" 1 "$(grep -c 'stopping after this step' err)"
grep -q '^dcam: interrupted' err && fail "the second signal did not end it at once"
is_absent m

# Going on from the middle gives the same thresholds as one run: nothing of the state was lost.
# shellcheck disable=SC2086
{
    rm state
    expect 0 train data -o whole $options
    interrupt_after 'epoch 3/' INT train data -o halves $options --checkpoint state
    # A fast machine may be done before the signal arrives; then there is nothing to resume.
    if [ "$code" -eq 130 ]; then
        is_absent halves
        expect 0 train data -o halves $options --checkpoint state --resume
        grep -q 'epoch 1/' err && fail "resumed from the beginning"
    fi
}
is_file halves
"$dcam" info whole --json >whole.json && "$dcam" info halves --json >halves.json || fail "info"
same "thresholds" "$("$json" whole.json classes)" "$("$json" halves.json classes)"

# In the last phase, after the epochs: the checkpoint is whole, and only the calibration is done again.
"$dcam" synth -o many --seed 3 --size 64 --classes 1 --train 160 --test-good 150 --test-defective 150 -q >out 2>err || fail "synth"
# shellcheck disable=SC2086
{
    late="--teacher random:1 --size 64 --epochs 1 --batch 16 --seed 5 --threads 1"
    interrupt_after 'epoch 1/1 ' TERM train many -o late $late --checkpoint late.state
    # A fast machine may be done before the signal arrives.
    if [ "$code" -ne 0 ]; then
        same "exit code" 143 "$code"
        err_has '^dcam: interrupted after epoch 1 of 1; the checkpoint late.state is whole: .*--resume'
        is_absent late
        expect 0 train many -o late $late --checkpoint late.state --resume
        grep -q 'epoch 1/1 ' err && fail "trained again"
    fi
    is_file late
}

# While the intervals of an evaluation are made, which would take minutes here.
: >err
rm -f pid
(sleep 6 && kill -INT "$(cat pid)") &
last="dcam eval --resamples"
sh -c 'echo $$ >pid; exec "$@"' sh "$dcam" eval many -m late --resamples 100000 --csv figures.csv --report page --threads 1 >out 2>err </dev/null
same "exit code" 130 "$?"
wait
err_has '^dcam: interrupted; nothing was written'
out_empty
is_absent figures.csv
same "files of the report" "" "$(ls page)"

# One model a class: a checkpoint a class.
# shellcheck disable=SC2086
{
    interrupt_after 'epoch 2/' INT train data -o each --one-class $options --epochs 100000 --checkpoint parts
    same "exit code" 130 "$code"
    err_has '^dcam: interrupted: parts\..*: stopped after epoch .*--resume'
    same "one checkpoint" 1 "$(ls parts.* | wc -l)"
    refuse 3 'no class has such a checkpoint' train data -o each --one-class $options --checkpoint others --resume -q
}

# What cannot be resumed from is refused before anything is computed.
# shellcheck disable=SC2086
{
    refuse 3 'nothing.state' train data -o m2 $options --checkpoint nothing.state --resume -q
    echo 'no checkpoint' >bad.state
    expect 4 train data -o m2 $options --checkpoint bad.state --resume -q
    one_error
    err_has 'bad.state'
    is_absent m2
}
finish
