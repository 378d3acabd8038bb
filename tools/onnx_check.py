#!/usr/bin/env python3
"""Runs an exported graph in ONNX Runtime and compares it with dcam itself, image by image.

    python tools/onnx_check.py --dcam build/dcam -m model.safetensors IMAGE...

Exports MODEL twice (normalised and uint8 input), scores the images with `dcam detect --precision f32 --map-npy` and with
both graphs, and prints the largest differences: of the map relative to its largest value, of the score, and whether
class and threshold are the same. Ends with 1 where one is above --bound. Needs onnx, onnxruntime, numpy, Pillow.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from PIL import Image


def run_dcam(options, folder):
    command = [options.dcam, "detect", *options.images, "-m", options.model, "--json", "--precision", "f32",
               "--map-npy", folder, "--quiet"]
    if options.class_name:
        command += ["--class", options.class_name]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def export(options, folder, rgb):
    path = os.path.join(folder, "rgb.onnx" if rgb else "normalised.onnx")
    command = [options.dcam, "export", "-m", options.model, "--to", "onnx", "-o", path]
    subprocess.run(command + (["--rgb"] if rgb else []) + (["--class", options.class_name] if options.class_name else []),
                   check=True, stdout=subprocess.DEVNULL)
    onnx.checker.check_model(path, full_check=True)
    return path


def resized(image, size):
    """Across, then down, as dcam does it and Pillow 9.4. Pillow 13 goes down first where that is cheaper: other rounding."""
    return image.resize((size[0], image.height), Image.BILINEAR).resize(size, Image.BILINEAR)


def read_images(paths, metadata):
    """uint8 N,H,W,3 and the normalised N,3,H,W, both from what the metadata says."""
    how = json.loads(metadata["preprocessing"])
    size = how["width"], how["height"]
    pixels = numpy.stack([numpy.asarray(resized(Image.open(path).convert("RGB"), size)) for path in paths])
    scaled = pixels.astype(numpy.float32) / numpy.float32(255)
    normalised = (scaled - numpy.float32(how["mean"])) / numpy.float32(how["deviation"])
    return pixels, numpy.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcam", default="build/dcam")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--class", dest="class_name")
    parser.add_argument("--bound", type=float, default=1e-4, help="of the relative differences (default: %(default)s)")
    parser.add_argument("images", nargs="+")
    options = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        wanted = run_dcam(options, folder)
        maps = [numpy.load(result["map"]) for result in wanted]
        for rgb in (False, True):
            session = onnxruntime.InferenceSession(export(options, folder, rgb), providers=["CPUExecutionProvider"])
            metadata = session.get_modelmeta().custom_metadata_map
            classes = json.loads(metadata["classes"])
            pixels, normalised = read_images([result["path"] for result in wanted], metadata)
            got = session.run(["map", "score", "class", "threshold"], {"input": pixels if rgb else normalised})
            for i, result in enumerate(wanted):
                scale = max(abs(maps[i]).max(), 1e-30)
                map_error = abs(got[0][i] - maps[i]).max() / scale
                score_error = abs(got[1][i] - result["raw"]) / max(abs(result["raw"]), 1e-30)
                same = classes[got[2][i]] == result["class"]
                threshold_error = abs(got[3][i] - result["threshold"]) / abs(result["threshold"])
                worst = numpy.max([worst, map_error, score_error, threshold_error, 0 if same else 1])  # NaN stays NaN
                print(f"{'rgb' if rgb else 'normalised':10} {result['path']}: map {map_error:.1e}, score {score_error:.1e}, "
                      f"threshold {threshold_error:.1e}, class {'same' if same else 'OTHER'}")
    print(f"largest: {worst:.1e}")
    sys.exit(0 if worst <= options.bound else 1)


if __name__ == "__main__":
    main()
