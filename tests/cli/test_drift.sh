# dcam eval --drift: the same process fits, another does not; plain folders, names, JSON, refusals.
. "$(dirname "$0")/common.sh"

"$dcam" synth -o data --seed 3 --size 64 --classes 2 --train 40 --test-good 20 --test-defective 12 >/dev/null 2>err || fail "synth"
"$dcam" train data -o model.safetensors --teacher random:1 --size 64 --epochs 1 --batch 8 --seed 1 -q >out 2>err || fail "train"
first=$(ls data | head -n 1)

expect 0 eval data -m model.safetensors --drift --json -q
same "keys" "model dataset classes significance p drifted seconds" "$("$json" -k out | tr '\n' ' ' | sed 's/ $//')"
same "images" 20 "$("$json" out classes "$first" images)"
same "calibration images" 8 "$("$json" out classes "$first" calibration_images)"
same "drifted" false "$("$json" out drifted)"
expect 0 eval data -m model.safetensors --drift -q
out_has '^class .*KS'
out_has '^Nothing speaks against the calibration in 2 of 2 classes'

# Defective images given out as normal ones, in a plain folder named by --class.
mkdir new
for label in data/"$first"/test/*; do
    case $label in */good) continue ;; esac
    for file in "$label"/*; do cp "$file" "new/$(basename "$label")-$(basename "$file")"; done
done
expect 0 eval new -m model.safetensors --drift --class "$first" --json -q
same "images" 12 "$("$json" out classes "$first" images)"
expect 0 eval data/"$first"/test/good -m model.safetensors --drift --class "$first" --significance 0.05 -q
out_has '^Nothing speaks against'
# Another process altogether.
second=$(ls data | tail -n 1)
expect 0 eval data/"$second"/test/good -m model.safetensors --drift --class "$first" -q
out_has 'no longer fit the calibration in 1 of 1 classes'
mkdir few && cp data/"$first"/test/good/000.png few/
expect 0 eval few -m model.safetensors --drift --class "$first" -q
out_has 'too few images to tell'

# A bad image is told. Where there is no memory for the JSON either, the missing JSON is what counts.
echo 'no image' >few/bad.png
few() { expect "$1" eval few -m model.safetensors --drift --class "$first" --threads 1 --json -q; }
few 3
err_has '^dcam: images that could not be read: 1;'
same "images" 1 "$("$json" out classes "$first" images)"
if [ -n "${DCAM_TEST_SHIM:-}" ]; then
    LD_PRELOAD=$DCAM_TEST_SHIM DCAM_FAULT_COUNT=calls
    export LD_PRELOAD DCAM_FAULT_COUNT
    few 3
    DCAM_FAULT=alloc:$(($(sed -n 's/^alloc //p' calls) - 5)):ENOMEM # nearly the last: while it prints
    export DCAM_FAULT
    few 5
    out_empty
    err_has '^dcam: out of memory for the JSON output'
    unset LD_PRELOAD DCAM_FAULT DCAM_FAULT_COUNT
fi

# New images of one class in its train/good; that those of another are the training's does not matter.
cp -r data half
rm -r half/"$second"/train/good
mv half/"$second"/test/good half/"$second"/train/good
rm -r half/"$second"/test half/"$second"/ground_truth
expect 0 eval half -m model.safetensors --drift --json -q
same "images" 20 "$("$json" out classes "$second" images)"
# Beside them those of the training, which are left out.
for file in data/"$second"/train/good/*; do cp "$file" half/"$second"/train/good/old-"$(basename "$file")"; done
expect 0 eval half -m model.safetensors --drift --json -q
same "images" 20 "$("$json" out classes "$second" images)"
# The training's images, whatever their folder is called.
refuse 3 "class $second has no test/good.*those of the training" eval data/"$second"/train/good -m model.safetensors --drift \
    --class "$second" -q

refuse 3 'not trained on class new' eval new -m model.safetensors --drift
refuse 2 'drift' eval data -m model.safetensors --drift --report page
refuse 2 'drift' eval data -m model.safetensors --class "$first"
rm -r data/"$first"/test data/"$first"/ground_truth
refuse 3 'those of the training' eval data -m model.safetensors --drift --classes "$first" -q
finish
