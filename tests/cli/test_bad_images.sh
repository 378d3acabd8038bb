# Images that are unreadable, truncated, empty, huge or misnamed: one line
# each, exit code 3, and the good image beside them is still scored.
. "$(dirname "$0")/common.sh"
make_model
good=$(first_of data/*/test/good/*.png)
mkdir in
cp "$good" in/good.png

: >in/empty.png
head -c 200 "$good" >in/truncated.png
echo 'these are words' >in/text.jpg
printf 'GIF89a\001\000\001\000' >in/other.png
# A PNG whose header says 100,000 x 100,000 (0x000186a0); the checksum of the
# header is wrong as well, which may be noticed first.
{
    head -c 16 "$good"
    printf '\000\001\206\240\000\001\206\240'
    tail -c +25 "$good"
} >in/huge.png
# The same as a PNM, which has no checksum.
printf 'P6\n100000 100000\n255\nabc' >in/huge.ppm
# Misnamed but whole: the content decides.
cp "$good" in/misnamed.jpg

expect 3 detect in -m model.safetensors -o over
out_has 'in/good\.png'
out_has 'in/misnamed\.jpg'
same "scored" 2 "$(wc -l <out)"
err_has '^dcam: in/empty\.png: .*empty'
err_has '^dcam: in/truncated\.png: .*truncated'
err_has '^dcam: in/text\.jpg: '
err_has '^dcam: in/other\.png: .*GIF'
err_has '^dcam: in/huge\.png: '
err_has '^dcam: in/huge\.ppm: .*100000 x 100000.*limit'
err_has '^dcam: 6 of 8 images could not be read'
same "overlays" 2 "$(find over -type f | wc -l)"

# Each alone says the same; nothing is left behind.
for bad in empty.png truncated.png text.jpg other.png huge.ppm; do
    expect 3 detect in/$bad -m model.safetensors -o alone
    err_has "^dcam: in/$bad: "
    out_empty
done
same "overlays" 0 "$(find alone -type f | wc -l)"

# No permission (root may read everything), a folder where a file should be, a dangling link.
if [ "$(id -u)" -ne 0 ]; then
    cp "$good" in/locked.png
    chmod 000 in/locked.png
    expect 3 detect in/locked.png -m model.safetensors
    err_has 'in/locked\.png: .*[Pp]ermission'
    rm -f in/locked.png
fi
mkdir -p odd
ln -s nowhere odd/dangling.png
cp "$good" odd/fine.png
expect 3 detect odd -m model.safetensors
err_has 'odd/dangling\.png'
out_has 'odd/fine\.png'

# In training a bad image ends the run before any model: it would silently be another data set.
class=$(ls data | head -n 1)
cp -r data spoilt
victim=$(first_of spoilt/"$class"/train/good/*.png)
head -c 100 "$victim" >cut && mv cut "$victim"
expect 3 train spoilt -o other.safetensors --teacher random:1 --size 64 --epochs 1 --batch 4 -q
one_error
err_has "^dcam: $victim: "
is_absent other.safetensors

# In evaluation it is named and left out of the figures.
cp -r data spoilt_test
victim=$(first_of spoilt_test/"$class"/test/good/*.png)
: >"$victim"
expect 3 eval spoilt_test -m model.safetensors --json --csv figures.csv
err_has "^dcam: $victim: "
"$json" out mean image_auroc >/dev/null || fail "eval with a bad image gives no figures"
is_file figures.csv

# In calibration too, of both kinds; the model is written. Each is named once, although it would be read several times.
expect 3 calibrate spoilt_test -m model.safetensors -o labelled.safetensors --f1
same "lines about it" 1 "$(grep -c "$victim" err)"
err_has '^dcam: images that could not be read: 1;'
out_has "^$class: threshold .*\(6 images"
is_file labelled.safetensors
# A photograph that was not learned from: those that were are left out of the calibration anyway.
cp -r data more
head -c 150 "$good" >more/"$class"/train/good/new.png
expect 0 calibrate data -m model.safetensors -o usual.safetensors --int8 --false-alarm-rate 0.1
expect 3 calibrate more -m model.safetensors -o t.safetensors --int8 --false-alarm-rate 0.1
same "lines about it" 1 "$(grep -c 'train/good/new\.png' err)"
err_has '^dcam: images that could not be read: 1;'
cmp -s usual.safetensors t.safetensors || fail "the bad image changed the calibration"
finish
