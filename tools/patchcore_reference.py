#!/usr/bin/env python3
"""PatchCore-style reference: how much the teacher's own features can tell, without any student.

What it does: for each class a memory of patch features (the teacher's layer2 and layer3, side by side on layer2's
grid) of its normal training images, thinned to a coreset; a patch of a test image is as anomalous as it is far from
its nearest neighbour in the memory. The map is brought to the image size and smoothed, the image score is its maximum.
Prints the same table as torch_twin.py. After Roth et al., "Towards Total Recall in Industrial Anomaly Detection",
CVPR 2022 (arXiv 2106.08265), without its re-weighting of the image score.

What it must not do: it is an orientation for docs, never needed by the build or by the tests.

Needs what torch_twin.py needs:
    /usr/bin/python3 tools/patchcore_reference.py --data DATASET --teacher resnet18-imagenet.safetensors
"""
import argparse
import sys
import time

import torch
import torch.nn.functional as F

from torch_twin import (Teacher, batches, common_arguments, finish_common, image_scores, load_classes, normalise,
                        print_rows, smooth, write_results)
from twin_metrics import class_metrics, mean_metrics


def patch_features(teacher, pixels, options):
    """N x P x D: layer2 beside layer3 (bilinear to layer2's grid), each averaged over a neighbourhood."""
    rows = []
    for part in batches(len(pixels), options.batch):
        _, two, three = teacher(normalise(pixels[part]))
        if options.neighbourhood > 1:
            two, three = (F.avg_pool2d(x, options.neighbourhood, 1, options.neighbourhood // 2,
                                       count_include_pad=False) for x in (two, three))
        if options.unit_length:
            two, three = F.normalize(two, dim=1), F.normalize(three, dim=1)
        three = F.interpolate(three, two.shape[2:], mode="bilinear", align_corners=False)
        rows.append(torch.cat([two, three], 1).flatten(2).transpose(1, 2).contiguous())
    return torch.cat(rows)


def random_coreset(features, count):
    return torch.randperm(len(features))[:count]


def k_center_coreset(features, count, dimensions=32):
    """Greedy: each next patch is the one farthest from all chosen, measured in a random projection."""
    small = features @ (torch.randn(features.shape[1], dimensions) / dimensions ** 0.5)
    lengths = small.pow(2).sum(1)
    chosen = torch.empty(count, dtype=torch.long)
    chosen[0] = torch.randint(len(small), (1,))
    nearest = torch.full((len(small),), float("inf"))
    for i in range(1, count):
        last = chosen[i - 1]
        nearest = torch.minimum(nearest, lengths + lengths[last] - 2 * (small @ small[last]))
        chosen[i] = nearest.argmax()
    return chosen


def nearest_distance(features, memory, chunk=1024):
    """Euclidean distance of each row to its nearest row of memory. The products are a 1 x 1 convolution, since Debian's
    torch has a fast convolution (oneDNN) and, with the reference BLAS, a matrix product twenty times slower."""
    kernel, memory_lengths, rows = memory[:, :, None, None], memory.pow(2).sum(1), []
    for part in batches(len(features), chunk):
        x = features[part]
        product = F.conv2d(x.t()[None, :, :, None].contiguous(), kernel, -0.5 * memory_lengths)  # x.m - |m|^2 / 2
        rows.append((x.pow(2).sum(1) - 2 * product[0, :, :, 0].amax(0)).clamp(min=0).sqrt())
    return torch.cat(rows)


def class_maps(teacher, data, options):
    """Anomaly maps of the class's test images at the image size, not yet smoothed."""
    normal = patch_features(teacher, data.normal, options).flatten(0, 1)
    count = max(1, int(len(normal) * options.fraction + 0.5))
    pick = k_center_coreset if options.coreset == "k-center" else random_coreset
    memory = normal[pick(normal, count)]
    test = patch_features(teacher, data.test, options)
    distances = nearest_distance(test.flatten(0, 1), memory)
    width, height = options.image_size
    grid = distances.view(len(test), 1, height // 8, width // 8)
    return F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)[:, 0].numpy(), count


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--fraction", type=float, default=0.1, help="part of the normal patches that is kept")
    parser.add_argument("--coreset", choices=("random", "k-center"), default="random")
    parser.add_argument("--neighbourhood", type=int, default=3, help="side of the average around a patch; 1: none")
    parser.add_argument("--unit-length", action="store_true", help="each layer's feature vector at unit length")
    parser.add_argument("--smoothing", default="0,4", help="Gaussian sigmas in input pixels to evaluate")
    options = parser.parse_args()
    finish_common(options)
    if not 0 < options.fraction <= 1 or options.neighbourhood % 2 != 1:
        sys.exit("--fraction must be above 0 and at most 1, --neighbourhood odd")

    started = time.time()
    teacher = Teacher(options.teacher, torch.contiguous_format)
    rows = [{"coreset": options.coreset, "fraction": options.fraction, "smoothing": float(sigma), "classes": {}}
            for sigma in options.smoothing.split(",")]
    memory_sizes = {}
    for data in load_classes(options):
        maps, memory_sizes[data.name] = class_maps(teacher, data, options)
        for row in rows:
            smoothed = smooth(maps, row["smoothing"])
            row["classes"][data.name] = class_metrics(smoothed, image_scores(smoothed, options.top_percent), data)
        print(f"{data.name}: {memory_sizes[data.name]} patches kept, {time.time() - started:.0f} s so far",
              file=sys.stderr, flush=True)
    for row in rows:
        row["mean"] = mean_metrics(row["classes"])
    print_rows(rows)
    record = {"torch": torch.__version__, "threads": torch.get_num_threads(), "memory_patches": memory_sizes,
              "options": {k: v for k, v in vars(options).items() if isinstance(v, (str, int, float, type(None)))},
              "seconds": time.time() - started}
    print(f"\n{record['seconds']:.0f} s")
    write_results(rows, record, options)


if __name__ == "__main__":
    main()
