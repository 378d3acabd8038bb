# No command writes its result over what it works from: exit code 2, one line that says which two, nothing changed.
. "$(dirname "$0")/common.sh"
make_model
cp model.safetensors m

# A manifest and a data set with a table (VisA's) of the same images, all in one class.
mkdir visa visa/split_csv
class=$(ls data | head -n 1)
cp -r "data/$class" visa/part
{
    echo path,class,split,label,mask
    (cd data && for image in "$class"/train/good/*; do echo "$image,$class,train,good,"; done)
    (cd data && for image in "$class"/test/good/*; do echo "$image,$class,test,good,"; done)
} >data/man.csv
{
    echo object,split,label,image,mask
    (cd visa && for image in part/train/good/*; do echo "part,train,normal,$image,"; done)
    (cd visa && for image in part/test/good/*; do echo "part,test,normal,$image,"; done)
} >visa/split_csv/1cls.csv
image=$(first_of data/"$class"/train/good/*)
mask=$(first_of data/"$class"/ground_truth/*/*)
cp "$image" photo.png
mkdir parts && cp m "parts/$class.safetensors"
files() { find . -type f ! -name out ! -name err -exec sha256sum {} + | sort; }
before=$(files)

# unharmed: what was there is there as it was, and nothing else is.
unharmed() {
    same "$last: files" "$before" "$(files)"
}
# keeps PATTERN ARGUMENTS...
keeps() {
    refuse 2 "$@"
    unharmed
}

options="--teacher random:1 --size 64 --epochs 1 --batch 4 -q"
# shellcheck disable=SC2086 # words
{
    keeps 'the model would replace the checkpoint' train data -o new --checkpoint new $options
    keeps 'the model would replace the checkpoint' train data -o m --checkpoint ./m $options
    keeps 'the model would replace the data set' train data/man.csv -o data/man.csv $options
    keeps 'the checkpoint would replace the data set' train data/man.csv -o new --checkpoint data/../data/man.csv $options
    keeps 'the model would replace the table of the data set' train visa -o visa/split_csv/1cls.csv $options
    keeps 'the model would replace the image of the data set' train data -o "$image" $options
    keeps 'the checkpoint would replace the mask of the data set' train data -o new --checkpoint "$mask" $options
    keeps 'the model would replace the teacher' train data -o m --teacher m --size 64 -q
    keeps 'the checkpoint would replace the teacher' train data -o new --checkpoint m --teacher m --size 64 -q
    keeps 'the model would replace the teacher' train data -o parts --one-class --teacher "parts/$class.safetensors" -q
}
keeps 'the table of the results would replace the data set' eval data/man.csv -m m --csv data/man.csv
keeps 'the table of the results would replace the table of the data set' eval visa -m m --csv visa/split_csv/1cls.csv
keeps 'the table of the results would replace the model' eval data -m m --csv m
keeps 'the table of the results would replace the model' eval data --classes "$class" -m parts --csv "parts/$class.safetensors"
keeps 'the table of the results would replace the image of the data set' eval data -m m --csv "$image"
keeps 'the table of the results would replace the report' eval data -m m --report page --csv page/index.html
mkdir page && cp m page/index.html
before=$(files)
keeps 'the report would replace the model' eval data -m page/index.html --report page
keeps 'the calibrated model would replace the data set' calibrate data/man.csv -m m -o data/man.csv
keeps 'the calibrated model would replace the image of the data set' calibrate data -m m -o "$image"
keeps 'the teacher would replace the weights' teacher import m -o m
keeps 'the exported file would replace the model' export -m m --to onnx -o m
keeps 'the teacher would replace the checkpoint' pretrain -o t --checkpoint t -q
keeps "the teacher would replace the checkpoint of the plateau's end" pretrain -o t.plateau --checkpoint t -q

# Overlays and maps.
mkdir out.d && cp m out.d/photo.png
before=$(files)
keeps 'photo.png: is the model' detect photo.png -m out.d/photo.png -o out.d
mkdir set set/link && cp photo.png set/link/a.png && ln -s "$work/set/link" data/link
before=$(files)
keeps 'link/a.png: is one of the photographs given' detect data -m m -o set --class "$class"
cp m photo.npy
before=$(files)
keeps 'photo.npy: is the model' detect photo.png -m photo.npy --map-npy .

# What is apart is written: a model in the place of an older one, a calibration in place.
expect 0 eval data/man.csv -m m --csv figures.csv --resamples 0 -q
expect 0 eval data/man.csv -m m --csv figures.csv --resamples 0 -q
expect 0 calibrate data/man.csv -m m -q
expect 0 calibrate data/man.csv -m m -o m -q
expect 0 detect photo.png -m m -o overlays --map-npy overlays -q
expect 0 detect photo.png -m m -o overlays --map-npy overlays -q
finish
