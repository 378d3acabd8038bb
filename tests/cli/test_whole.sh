# The whole job, small: synth, train, eval, detect, calibrate, info, bench,
# with the JSON of the contract.
. "$(dirname "$0")/common.sh"

make_data
same "classes" 2 "$(ls data | wc -l)"
first=$(ls data | head -n 1)
same "training images" 8 "$(ls data/"$first"/train/good | wc -l)"
same "good test images" 3 "$(ls data/"$first"/test/good | wc -l)"
same "masks" 4 "$(find data/"$first"/ground_truth -type f | wc -l)"
# The same seed gives the same files.
"$dcam" synth -o again --seed 3 --size 64 --classes 2 --train 8 --test-good 3 --test-defective 4 >/dev/null 2>&1
diff -r data again >/dev/null || fail "synth: the same seed gave other images"

# Train: a line an epoch without a terminal, the result on standard output.
expect 0 train data -o model.safetensors --teacher random:1 --size 64 --epochs 2 --batch 4 --seed 1 --threads 1
same "result" "wrote model.safetensors" "$(cat out)"
err_has '^epoch 1/2  loss [0-9.e+-]+  validation '
err_has '^epoch 2/2 '
grep -q "$(printf '\r')" err && fail "a progress bar without a terminal"
# The same seed and threads give the same file but for times; thresholds tell.
expect 0 train data -o twin.safetensors --teacher random:1 --size 64 --epochs 2 --batch 4 --seed 1 --threads 1 -q
[ ! -s err ] || fail "--quiet is not quiet"
"$dcam" info twin.safetensors --json >twin.json && "$dcam" info model.safetensors --json >info.json || fail "info"
same "thresholds" "$("$json" info.json classes)" "$("$json" twin.json classes)"
# Without a cache the numbers are the same.
expect 0 train data -o uncached.safetensors --teacher random:1 --size 64 --epochs 2 --batch 4 --seed 1 --threads 1 -q \
    --cache-memory 0
"$dcam" info uncached.safetensors --json >uncached.json || fail "info"
same "thresholds without a cache" "$("$json" info.json classes)" "$("$json" uncached.json classes)"

# Every switch of training at least runs; rectangular input as well.
expect 0 train data -o stfpm.safetensors --teacher random:2 --method stfpm --size 96x64 --epochs 1 --batch 4 -q
expect 0 train data -o cbam.safetensors --teacher random:2 --attention cbam --attention-at-detection keep \
    --loss cd=1,cds=1,kd=0.5,affinity=1,l2=1 --loss-reads both --kd-temperature 2 --kd-scale sum --map standard \
    --smoothing 2 --top-percent 30 --false-alarm-rate 0.3 --schedule cosine --lr 0.01 --size 64 --epochs 1 --batch 4 -q
# The threshold of a mean over pixels: images called ok had regions where single pixels passed it.
expect 0 detect data/"$first"/train data/"$first"/test -m cbam.safetensors --json -q
grep -q '"anomalous": *false' out || fail "no image is ok"
grep '"anomalous": *false' out | grep -qv '"regions": *\[\]' && fail "an image that is ok has regions"
expect 0 train data -o each --one-class --teacher random:1 --size 64 --epochs 1 --batch 4 -q
same "one model a class" 2 "$(ls each | wc -l)"
expect 0 eval data -m each --json -q
same "classes of one-class models" 2 "$("$json" -k out classes | wc -l)"

# Eval: table, JSON, CSV say the same.
expect 0 eval data -m model.safetensors --csv figures.csv
out_has '^class .*AUROC.*AUPRO'
out_has "^$first +7 +4 "
out_has '^mean '
same "lines" 8 "$(wc -l <out)"
out_has '^ +95 % in +[0-9]+-[0-9]+%' 
same "CSV head" "class,images,defective,image_auroc,image_ap,image_f1max,pixel_auroc,pixel_ap,pixel_f1max,aupro,pro_rescaled,false_alarm_rate,miss_rate" \
    "$(head -n 1 figures.csv | cut -d, -f1-13)"
same "CSV intervals" "image_auroc_low,image_auroc_high,miss_rate_low,miss_rate_high" "$(head -n 1 figures.csv | cut -d, -f14,15,32-)"
same "CSV lines" 4 "$(wc -l <figures.csv)"
expect 0 eval data -m model.safetensors --json
same "keys" "model dataset classes mean resamples seconds" "$("$json" -k out | tr '\n' ' ' | sed 's/ $//')"
metrics="image_auroc image_ap image_f1max pixel_auroc pixel_ap pixel_f1max aupro pro_rescaled false_alarm_rate miss_rate"
same "keys of a class" "images defective $metrics intervals" "$("$json" -k out classes "$first" | tr '\n' ' ' | sed 's/ $//')"
same "keys of the mean" "$metrics intervals" "$("$json" -k out mean | tr '\n' ' ' | sed 's/ $//')"
same "intervals" "$metrics" "$("$json" -k out mean intervals | tr '\n' ' ' | sed 's/ $//')"
[ "$("$json" out mean intervals miss_rate)" != null ] || fail "no interval of the miss rate"
for metric in $metrics; do
    "$json" out mean "$metric" | awk '{ exit !($1 >= 0 && $1 <= 1) }' || fail "$metric is not in 0..1"
done
same "CSV and JSON" "$(printf '%.6f' "$("$json" out mean aupro)")" "$(printf '%.6f' "$(tail -n 1 figures.csv | cut -d, -f10)")"
expect 0 eval data -m model.safetensors --classes "$first" --infer-class --json
same "one class" "$first" "$("$json" -k out classes)"

# One resample left intervals with one end, and was told as "out of memory".
refuse 2 '1 resamples: 95 % intervals need 40' eval data -m model.safetensors --resamples 1 --json
expect 0 eval data -m model.safetensors --classes "$first" --resamples 40 --json
expect 0 eval data -m model.safetensors --classes "$first" --resamples 0 --json
same "no intervals" "images defective $metrics" "$("$json" -k out classes "$first" | tr '\n' ' ' | sed 's/ $//')"

# Calibrate: another rate moves the thresholds; into another file, then in place.
sum=$(cksum model.safetensors)
expect 0 calibrate data -m model.safetensors -o loose.safetensors --false-alarm-rate 0.4
out_has "^$first: threshold [0-9.e+-]+ -> [0-9.e+-]+  \([0-9]+ images"
same "the model read" "$sum" "$(cksum model.safetensors)"
# A new image beside those of the training is used; those that were learned from stay out.
cp -r data more && cp data/"$first"/test/good/000.png more/"$first"/train/good/new.png
expect 0 calibrate data -m model.safetensors -o t --json
images=$("$json" -l out images | head -n 1)
expect 0 calibrate more -m model.safetensors -o t --json
same "images with a new one" $((images + 1)) "$("$json" -l out images | head -n 1)"
# Without a rate the one that was asked for last stays.
cp loose.safetensors again.safetensors
expect 0 calibrate data -m again.safetensors -q
cmp -s loose.safetensors again.safetensors || fail "calibrate without a rate changed it"
expect 0 calibrate data -m loose.safetensors --f1 --json
"$json" -l out threshold >thresholds || fail "calibrate --json"
same "lines" 2 "$(wc -l <thresholds)"
expect 0 info loose.safetensors --json
[ "$("$json" out classes)" != "$("$json" info.json classes)" ] || fail "calibrate changed nothing"

# Export: read back by the program itself; the plain tensors are readable weights.
expect 0 export -m model.safetensors --to onnx -o model.onnx
same "result" "wrote model.onnx" "$(cat out)"
is_file model.onnx
expect 0 export -m stfpm.safetensors --to onnx --rgb --class "$first" -o rgb.onnx
expect 0 export -m model.safetensors --to safetensors -o plain.safetensors
is_file plain.safetensors
refuse 2 'would replace the model' export -m model.safetensors --to safetensors -o model.safetensors
refuse 2 'has no class nothing' export -m model.safetensors --to onnx --class nothing -o no.onnx
refuse 4 'rgb.onnx' export -m rgb.onnx --to onnx -o no.onnx
is_absent no.onnx

# Int8: the training measured its ranges; a model without says what to do, and calibrate measures them anew.
expect 0 eval data -m model.safetensors --precision int8 --json -q
expect 0 detect data/"$first"/test -m model.safetensors --precision int8 --json -q
sum=$(cksum model.safetensors)
expect 0 calibrate data -m model.safetensors -o int8.safetensors --int8
err_has 'int8 moves the scores of [0-9]+ normal images by [0-9.]+ % of the threshold'
[ ! -s out ] || fail "calibrate --int8 alone set thresholds"
expect 0 info int8.safetensors --json
same "thresholds after --int8" "$("$json" info.json classes)" "$("$json" out classes)"
expect 0 calibrate data -m int8.safetensors --int8 --precision int8
out_has "^$first: threshold "
expect 0 bench -m int8.safetensors --seconds 0.05 --batch 1 --precision int8
out_has '^network +int8 +1 '

# Info for people.
expect 0 info model.safetensors
out_has '^method: hybrid$'
out_has "$first"

# Bench.
expect 0 bench -m model.safetensors --seconds 0.05 --batch 1 --json
same "keys" "machine model results" "$("$json" -k out | tr '\n' ' ' | sed 's/ $//')"
same "keys of a result" "stage precision batch threads images ms_per_image images_per_second" \
    "$("$json" -k out results 0 | tr '\n' ' ' | sed 's/ $//')"
same "keys of the time" "p50 p95 p99" "$("$json" -k out results 0 ms_per_image | tr '\n' ' ' | sed 's/ $//')"
for stage in network decode resize map end_to_end; do
    grep -q "\"stage\": \"$stage\"" out || fail "bench lacks the stage $stage"
done
expect 0 bench -m model.safetensors --seconds 0.05 --batch 1
out_has '^network +(f32|bf16) +1 '
finish
