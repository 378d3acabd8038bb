#!/bin/sh
# Makes docs/images/overlay.jpg, the picture of README.md: photograph and
# overlay of a defect each of four classes. All of it is synthetic data.
#     docs/make-picture.sh TEACHER [BUILD-FOLDER]
# TEACHER as for `dcam train`: ImageNet weights, or random:1 (a worse picture).
# Needs the built dcam, and Python with Pillow to put the parts side by side.
set -eu
cd "$(dirname "$0")/.."
teacher=$1
build=${2:-build}
dcam=$build/dcam
out=$build/picture
python=${PYTHON:-python3}

classes=weave,hex_nut,capsule,wood
if [ ! -e "$out/model.safetensors" ]; then
    rm -rf "$out"
    mkdir -p "$out"
    "$dcam" synth -o "$out/data" --seed 1 --classes 5 --train 24 --test-good 1 --test-defective 12
    "$dcam" train "$out/data" -o "$out/model.safetensors" --teacher "$teacher" --classes $classes --epochs 25 --method dcam \
        --batch 16 --seed 1 --attention-at-detection keep
    # The thresholds from other good images, as many as a false-alarm rate of 1 % needs.
    "$dcam" synth -o "$out/fresh" --seed 2 --classes 5 --train 100 --test-good 1 --test-defective 1
    "$dcam" calibrate "$out/fresh" -m "$out/model.safetensors" --classes $classes
fi
# CLASS/DEFECT/NAME
pictures="hex_nut/rust/001 weave/foreign_fibre/000 capsule/specks/000 wood/crack/000"
for picture in $pictures; do
    class=${picture%%/*}
    "$dcam" detect "$out/data/$class/test/${picture#*/}.png" -m "$out/model.safetensors" --class "$class" \
        -o "$out/overlays/${picture%/*}" --quiet
done
"$python" - "$out" $pictures <<'END'
import sys
from PIL import Image

SIDE, GAP, PAIR_GAP = 200, 4, 16
out, pictures = sys.argv[1], sys.argv[2:]
row = Image.new("RGB", (len(pictures) * (2 * SIDE + GAP + PAIR_GAP) - PAIR_GAP, SIDE), "white")
for i, picture in enumerate(pictures):
    kind, name = picture.rsplit("/", 1)
    class_name, defect = kind.split("/")
    x = i * (2 * SIDE + GAP + PAIR_GAP)
    for path in (f"{out}/data/{class_name}/test/{defect}/{name}.png", f"{out}/overlays/{kind}/{name}.png"):
        row.paste(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.LANCZOS), (x, 0))
        x += SIDE + GAP
row.save("docs/images/overlay.jpg", quality=88)
END
ls -l docs/images/overlay.jpg
