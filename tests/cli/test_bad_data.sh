# Data sets that are none or are damaged: exit code 3 and one line that names
# the file or the class.
. "$(dirname "$0")/common.sh"
make_model
set -- $(ls data)
one=$1 two=$2
train() { "$dcam" train "$1" -o m --teacher random:1 --size 64 --epochs 1 --batch 4 -q; }
refuse_train() {
    refuse 3 "$1" train "$2" -o m --teacher random:1 --size 64 --epochs 1 --batch 4 -q
    is_absent m
}

# No data set at all.
refuse_train 'nowhere: no such folder' nowhere
mkdir void
refuse_train 'void: no images found; looked for' void
echo text >file.txt
refuse_train 'file.txt: is no data set' file.txt
echo 'name,value' >table.csv
refuse_train 'table.csv: the first line must name the columns' table.csv
refuse 3 'void: no images found' eval void -m model.safetensors
refuse 3 'void: no images found' calibrate void -m model.safetensors

# A class without normal images, or with one.
cp -r data few
rm few/"$one"/train/good/*.png
refuse_train "class \"$one\" has no normal training image" few
cp "$(first_of data/"$one"/train/good/*.png)" few/"$one"/train/good/
refuse_train "class \"$one\" has only 1 normal training image" few
# The other class alone is fine.
expect 0 train few -o m --teacher random:1 --size 64 --epochs 1 --batch 4 -q --classes "$two"
is_file m
rm m

# Copies: the model is that of the data without them, and each class says so once. All of one content is too few.
learn() { expect 0 train "$1" -o "$2" --teacher random:1 --size 64 --epochs 1 --batch 4 --threads 1 --seed 1 --precision f32; }
numbers() { "$dcam" info --json "$1" | sed -n '/threshold\|deviation\|"loss"\|"validation"/p'; }
cp -r data doubled
for image in doubled/"$one"/train/good/*.png; do cp "$image" "${image%.png}_copy.png"; done
learn data plain.safetensors
! grep -q copies err || fail "copies in data without any"
learn doubled doubled.safetensors
same "warnings of copies" 1 "$(grep -c "class \"$one\": 8 of 16 images are copies of others" err)"
numbers plain.safetensors >plain.txt
numbers doubled.safetensors >doubled.txt
[ -s plain.txt ] && cmp -s plain.txt doubled.txt || fail "copies change the model"
expect 0 calibrate doubled -m doubled.safetensors --false-alarm-rate 0.1
err_has '2 of 6 images are copies of others; each image counts once'
out_has "^$one: .*[(]2 images"
expect 0 train doubled -o each --one-class --teacher random:1 --size 64 --epochs 1 --batch 4
same "warnings of copies, one class" 1 "$(grep -c "are copies of others" err)"

# Classes that were calibrated at different rates, or by labels: no rate is right for all, and none is taken silently.
expect 0 calibrate data -m plain.safetensors --false-alarm-rate 0.1
expect 0 calibrate data -m plain.safetensors -o mixed --classes "$two" --f1
expect 2 calibrate data -m mixed -o c
err_has "mixed: classes $one and $two were not calibrated at the same false-alarm rate"
is_absent c
expect 0 calibrate data -m mixed -o c --false-alarm-rate 0.1
expect 0 calibrate data -m mixed -o c --classes "$one"
expect 0 info --json c
same "the rate kept" 0.1 "$("$json" out classes 0 false_alarm_rate)"
rm c

cp -r data alike
for image in alike/"$two"/train/good/*.png; do cp "$(first_of alike/"$two"/train/good/*.png)" "$image" 2>/dev/null; done
refuse_train "the 8 normal training images of class \"$two\" are copies of one" alike
refuse 3 "the 8 normal training images of class \"$two\" are copies of one" train alike -o all --one-class --teacher random:1 --size 64 -q
is_absent all/"$one".safetensors

# A class without images to calibrate with, or with learned ones alone, is not said to have unreadable ones.
cp -r data bare
rm bare/"$one"/train/good/*.png
refuse 3 "bare: class \"$one\" has no normal images to calibrate with" calibrate bare -m model.safetensors -o c -q
mkdir -p known/"$one"
for image in data/"$one"/train/good/*.png; do
    cp "$image" known/"$one"/it.png
    "$dcam" calibrate known/"$one" -m model.safetensors -o c -q >out 2>err && continue
    err_has 'has learned from all of its normal images'
    break
done
cp known/"$one"/it.png bare/"$one"/train/good/
rm -f c
refuse 3 "bare: the model has learned from all normal images of class \"$one\"" calibrate bare -m model.safetensors -o c -q
expect 0 calibrate bare -m model.safetensors -o c -q --int8
is_file c
rm c

# A mask without its photograph.
cp -r data orphan
photograph=$(first_of orphan/"$one"/test/[!g]*/*.png)
rm "$photograph"
refuse 3 'a mask without its photograph' eval orphan -m model.safetensors

# A mask of another size than its photograph.
cp -r data unequal
"$dcam" synth -o larger --seed 3 --size 96 --classes 2 --train 1 --test-good 1 --test-defective 4 >/dev/null 2>&1
mask=$(cd larger && first_of "$one"/ground_truth/*/*.png)
cp larger/"$mask" unequal/"$mask"
expect 3 eval unequal -m model.safetensors
err_has "$mask: the mask is 96 x 96, its photograph 64 x 64"

# A manifest that names a file which is not there; a VisA table that leads out of its folder.
printf 'path,class,split,label,mask\nmissing.png,a,train,good,\n' >gone.csv
refuse_train 'gone.csv: line 2: no such .*missing.png' gone.csv
mkdir -p visa/split_csv
printf 'object,split,label,image,mask\na,train,normal,../../etc/passwd,\n' >visa/split_csv/1cls.csv
refuse_train 'line 2: .*leads out of' visa

# Test images of a class that the model does not know; a data set without test images.
cp -r data renamed
mv renamed/"$one" renamed/unheard_of
refuse 3 'the model was not trained on class unheard_of' eval renamed -m model.safetensors
refuse 3 'the model was not trained on class unheard_of' calibrate renamed -m model.safetensors -o c
is_absent c
cp -r data untested
rm -r untested/*/test untested/*/ground_truth
refuse 3 'has no test images' eval untested -m model.safetensors

# Undefined is "-" and null, never 0: without masks no pixel metrics, without defects no AUROC.
cp -r data unmasked
rm -r unmasked/*/ground_truth
expect 0 eval unmasked -m model.safetensors --json
same "pixel AUROC without masks" null "$("$json" out mean pixel_auroc)"
[ "$("$json" out mean image_auroc)" != null ] || fail "image AUROC is undefined"
expect 0 eval unmasked -m model.safetensors
out_has "^mean .* - "
rm -r unmasked/*/test/[!g]*
expect 0 eval unmasked -m model.safetensors --json
same "image AUROC without defects" null "$("$json" out mean image_auroc)"
same "defective" 0 "$("$json" out classes "$one" defective)"
finish
