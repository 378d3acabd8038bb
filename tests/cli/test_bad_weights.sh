# Weights and model files that are damaged, incomplete or too new: exit code 4
# and one line that names the file; nothing is written.
. "$(dirname "$0")/common.sh"
make_model
good=$(first_of data/*/test/good/*.png)

refuse_everywhere() {
    refuse 4 "$1" info "$2"
    refuse 4 "$1" detect "$good" -m "$2"
    refuse 4 "$1" teacher import "$2" -o teacher.safetensors
    refuse 4 "$1" train data -o m --teacher "$2" --size 64 --epochs 1 -q
    is_absent teacher.safetensors
    is_absent m
}

: >empty.safetensors
refuse_everywhere 'empty.safetensors: is empty' empty.safetensors
echo 'these are words, more than eight bytes' >text.safetensors
refuse_everywhere 'text.safetensors: ' text.safetensors
head -c 5000 model.safetensors >cut_header.safetensors
refuse_everywhere 'cut_header.safetensors: ' cut_header.safetensors
head -c 1000000 model.safetensors >cut_data.safetensors
refuse_everywhere 'cut_data.safetensors: ' cut_data.safetensors
{ printf '\377\377\377\377\377\377\377\177' && tail -c +9 model.safetensors; } >length.safetensors
refuse_everywhere 'length.safetensors: ' length.safetensors

safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}' \
    12 >overlap.safetensors
refuse_everywhere 'tensors a and b overlap' overlap.safetensors
safetensors '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}' 8 >size.safetensors
refuse_everywhere 'size.safetensors: tensor a' size.safetensors
safetensors '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}' 8 >json.safetensors
refuse_everywhere 'json.safetensors: the header is no valid JSON' json.safetensors

# A whole file that is no ResNet-18: the tensor is named.
safetensors '{"conv1.weight":{"dtype":"F32","shape":[64,3,7,7],"data_offsets":[0,37632]}}' 37632 >missing.safetensors
refuse 4 'missing.safetensors: tensor [a-z0-9._]+ \[[0-9, x]+\] is missing' teacher import missing.safetensors -o t
safetensors '{"conv1.weight":{"dtype":"F32","shape":[64,3,5,5],"data_offsets":[0,19200]}}' 19200 >shape.safetensors
refuse 4 'shape.safetensors: tensor ' teacher import shape.safetensors -o t
is_absent t
refuse 4 'is not a model file' detect "$good" -m missing.safetensors

# A model with one byte changed: its sums find it.
bytes=$(wc -c <model.safetensors)
cp model.safetensors turned.safetensors
printf '\001' | dd of=turned.safetensors bs=1 seek=$((bytes / 8 * 4)) conv=notrunc 2>/dev/null
refuse 4 'turned.safetensors: tensor [a-z0-9._]+ is not what was written .*get it again' detect "$good" -m turned.safetensors
LC_ALL=C sed 's/"format_version":"[123]"/"format_version":"9"/' model.safetensors >turned.safetensors
refuse 4 'turned.safetensors: its metadata is not what was written' detect "$good" -m turned.safetensors

# The same without sums, as others write files: a tensor of another name, a value that is not finite, a newer format.
LC_ALL=C sed 's/"sha256":"/"sha25x":"/' model.safetensors >plain.safetensors
expect 0 detect "$good" -m plain.safetensors -q
LC_ALL=C sed 's/"student.layer1.0.conv1.weight"/"student.layer1.0.convX.weight"/' plain.safetensors >renamed.safetensors
cmp -s plain.safetensors renamed.safetensors && fail "the tensor was not found in the model"
refuse 4 'renamed.safetensors: tensor student.layer1.0.conv' detect "$good" -m renamed.safetensors
cp plain.safetensors nan.safetensors
printf '\000\000\300\177' | dd of=nan.safetensors bs=1 seek=$((bytes / 8 * 4)) conv=notrunc 2>/dev/null
refuse 4 'nan.safetensors: .*not finite' detect "$good" -m nan.safetensors
LC_ALL=C sed 's/"format_version":"[123]"/"format_version":"7"/' plain.safetensors >newer.safetensors
cmp -s plain.safetensors newer.safetensors && fail "the format version was not found in the model"
refuse 4 'newer.safetensors: is of format 7.*update dcam' detect "$good" -m newer.safetensors
refuse 4 'newer.safetensors: is of format 7' eval data -m newer.safetensors
refuse 4 'newer.safetensors: is of format 7' bench -m newer.safetensors
refuse 4 'newer.safetensors: is of format 7' calibrate data -m newer.safetensors -o t
is_absent t

# A .pth file: damaged, or with something else than tensors inside.
printf 'PK\003\004 and no archive' >broken.pth
refuse 4 'broken.pth: ' teacher import broken.pth -o t
refuse 3 'nowhere.pth: ' teacher import nowhere.pth -o t
refuse 3 'nowhere.safetensors: ' detect "$good" -m nowhere.safetensors
refuse 3 'nowhere.safetensors: ' train data -o m --teacher nowhere.safetensors --size 64 -q
is_absent t
finish
