# Wrong usage: exit code 2, one line that says what and how to mend it.
. "$(dirname "$0")/common.sh"

# Commands.
refuse 2 "unknown command 'inspect'.*train, eval, detect" inspect
refuse 2 "did you mean 'eval'" evl
refuse 2 "did you mean 'teacher (import|fetch)'" teacher
refuse 2 "unknown command 'teacher'" teacher imprt
refuse 2 'unknown option --json before the command' --json
refuse 2 "unknown command 'nothing'" help nothing

# Unknown, abbreviated and misspelled options.
refuse 2 "unknown option --epoch; did you mean --epochs" train d -o m --teacher random:1 --epoch 3
refuse 2 "unknown option --fail; did you mean --fail-on-anomaly" detect x -m m --fail
refuse 2 "unknown option --treads; did you mean --threads" eval d -m m --treads=2
refuse 2 "unknown option --zzzzzz; see 'dcam help eval'" eval d -m m --zzzzzz
refuse 2 'unknown option -x' eval d -m m -x
refuse 2 'unknown option --protocol' eval d -m m --protocol page
long=$(printf '%080d' 7)
refuse 2 "unknown option --$long; see" eval d -m m "--$long"
refuse 2 "unknown command '$long'" "$long"

# Values.
refuse 2 'option --teacher needs a value' train d -o m --teacher --epochs=3
refuse 2 'option --model needs a value' eval d -m
refuse 2 'takes no value' eval d -m m --json=yes
refuse 2 "'' is not a value: it is empty" eval d -m ''
refuse 2 "'0' is not a whole number from 1" train d -o m --teacher t --epochs 0
refuse 2 "'3x' is not a whole number" train d -o m --teacher t --epochs 3x
refuse 2 "'1e3' is not a whole number" train d -o m --teacher t --batch 1e3
refuse 2 "'99999999999999999999' is not a whole number" train d -o m --teacher t --epochs 99999999999999999999
refuse 2 "'nan' is not a number" train d -o m --teacher t --lr nan
refuse 2 "'0x1p3' is not a number" train d -o m --teacher t --lr 0x1p3
refuse 2 "'-1' is not a number from 0" train d -o m --teacher t --smoothing -1
refuse 2 "'1.5' is not a number from 1e-06 to 0.5" calibrate d -m m --false-alarm-rate 1.5
refuse 2 'not one of hybrid\|dcam\|stfpm' train d -o m --teacher t --method pca
refuse 2 'not one of auto\|f32\|bf16\|int8' bench -m m --precision f16
refuse 2 'not one of auto\|f32\|bf16' train data -o m --teacher random:1 --precision int8
refuse 2 'multiples of 32' train d -o m --teacher t --size 100
refuse 2 'multiples of 32' train d -o m --teacher t --size 256x250
refuse 2 'is not a size' train d -o m --teacher t --size 256x
refuse 2 'is not a size' train d -o m --teacher t --size 256x256x3
for size in '' x -32 64x-32 64x 64x64y 9999999999 32x9999999999 -; do
    refuse 2 'is not a size|is not a value: it is empty' train d -o m --teacher t "--size=$size"
done
refuse 2 'multiples of 32' train d -o m --teacher t --size 0x32
refuse 2 'multiples of 32' train d -o m --teacher t --size 32x8192
refuse 2 'is not a number of bytes' train d -o m --teacher t --cache-memory 2T
for bytes in '' K -1 -1K 1KB 1MM; do
    refuse 2 'is not a number of bytes|it is empty' train d -o m --teacher t "--cache-memory=$bytes"
done
refuse 3 'd: ' train d -om --teacher random:1 --cache-memory 1000000
refuse 3 'd: ' train d -om --teacher random:1 --cache-memory 1000K
for number in '' - + x :; do
    refuse 2 'is not a number|it is empty' train d -o m --teacher t "--lr=$number"
    refuse 2 'is not a whole number|it is empty' train d -o m --teacher t "--epochs=$number"
    refuse 2 'is not a whole number|it is empty' train d -o m --teacher t "--seed=$number"
done
refuse 2 'is not a number of bytes' train d -o m --teacher t --cache-memory 99999999999G
# None at all would be no limit, which nobody has asked for.
for bytes in 0 0G; do
    refuse 2 "max-memory: '$bytes' is not a number .*above 0" train d -o m --teacher t --max-memory $bytes
done
refuse 2 'whole number from 0 to 18446744073709551615' train d -o m --teacher t --seed -1
refuse 2 'whole number from 0 to 18446744073709551615' synth -o d --seed 18446744073709551616
if "$dcam" help serve >out 2>&1; then
    refuse 2 'it is empty' serve -m ''
    refuse 2 "max-body: '0' is not a number .*above 0" serve -m m --max-body 0
    refuse 2 "max-pixels: '0' is not a number .*above 0" serve -m m --max-pixels 0
    # shellcheck disable=SC2046 # many words
    refuse 2 'not one of at most 64' serve $(printf -- '-m %d ' $(seq 65))
fi

# What is missing, what is too much, what contradicts itself.
refuse 2 'train needs DATASET' train
refuse 2 'train needs --output MODEL' train d --teacher random:1
refuse 3 'd: ' train d -o m
refuse 2 'eval needs --model MODEL' eval d
refuse 2 'detect needs PATH' detect -m m
refuse 2 'info needs FILE' info
refuse 2 'synth needs --output DIR' synth
refuse 2 'export needs --to onnx\|safetensors: ' export -m m -o x
refuse 2 "'e' is one argument too many" eval d e -m m
refuse 2 "'x' is one argument too many" bench x -m m
refuse 2 'an argument is empty' info ''
refuse 2 '--resume needs --checkpoint' train d -o m --teacher random:1 --resume
refuse 2 'give one of them' calibrate d -m m --f1 --false-alarm-rate 0.01

# What only the library knows to be wrong.
make_data
refuse 2 "loss 'cosine' is not known" train data -o m --teacher random:1 --loss cosine=1
refuse 2 'random:SEED' train data -o m --teacher random:x
refuse 3 'no class "bolt"' train data -o m --teacher random:1 --classes bolt
is_absent m

# After --, what looks like an option is a path.
refuse 3 '--json' info -- --json
: >-0412.jpg
refuse 2 'unknown option -0412.jpg; if the file of that name is meant, write \./-0412.jpg, or -- before it' detect -0412.jpg -m m
refuse 4 '^dcam: \./-0412.jpg: ' info ./-0412.jpg
# Help wins over what would be missing.
expect 0 train --help
# An error line stays one line whatever a name holds.
refuse 3 'a\\nb' info "$(printf 'a\nb')"
# A training that does not fit is refused before it starts, with what would make it fit.
refuse 5 'would hold [0-9]+ MiB, the limit is 10 MiB; take a smaller batch' train data -o m --teacher random:1 --size 64 \
    --max-memory 10M -q
is_absent m
finish
