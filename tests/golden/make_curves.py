#!/usr/bin/python3
"""Writes curves.bin: the points of ROC and precision-recall by scikit-learn, those of PRO by brute force, in the order of
falling thresholds. tests/metrics/test_curves.c makes the same inputs as test_metrics.c does (make_metrics.py)."""
import os

import numpy as np
from sklearn import metrics

from formula import value
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
# seed, count, quantum, gain of anomalous items, share of anomalous items
IMAGES = [(2, 1000, 4, 0.5, 0.3), (3, 37, 2, 0.25, 0.5), (6, 2, 0, 0.0, 0.5), (7, 60, 0, 0.5, 0.4)]
# seed, images, height, width, quantum, gain; few distinct scores, so that each has a bin of its own
PIXELS = [(12, 5, 24, 31, 4, 0.5), (13, 3, 17, 16, 1, 0.0), (16, 2, 9, 7, 2, 1.0)]


def quantise(v, quantum):
    v = v.astype(np.float32)
    return np.floor(v * np.float32(quantum)) / np.float32(quantum) if quantum else v


def image_case(seed, count, quantum, gain, share):
    labels = (value(seed + 100, count) * 0.5 + 0.5 < share).astype(int)
    labels[0], labels[-1] = 0, 1
    return quantise(value(seed, count) + labels.astype(np.float32) * np.float32(gain), quantum), labels


def pixel_case(seed, images, height, width, quantum, gain):
    coarse = value(seed + 200, images * 10000).reshape(images, 100, 100)
    y, x = np.mgrid[0:height, 0:width]
    masks = coarse[:, y // 3, x // 3] > np.float32(0.6)
    masks |= value(seed + 300, images * height * width).reshape(masks.shape) > np.float32(0.97)
    masks[::3] = False
    maps = value(seed, masks.size).reshape(masks.shape) + masks.astype(np.float32) * np.float32(gain)
    return quantise(maps, quantum), masks


def components(mask):
    """8-connected regions by flooding, one at a time."""
    left, out = set(zip(*np.nonzero(mask))), []
    while left:
        queue, region = [left.pop()], []
        while queue:
            y, x = queue.pop()
            region.append((y, x))
            for near in [(y + i, x + k) for i in (-1, 0, 1) for k in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    queue.append(near)
        out.append(tuple(np.array(region).T))
    return out


def roc_and_precision(scores, labels):
    fpr, tpr, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    precision, recall = precision[:-1][::-1], recall[:-1][::-1]  # the last point is made up: recall 0, precision 1
    kept = recall > 0
    return np.stack([fpr, tpr], 1), np.stack([recall[kept], precision[kept]], 1)


def pro(maps, masks):
    regions = [(i, r) for i, mask in enumerate(masks) for r in components(mask)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        positive = maps >= threshold
        points.append((positive[~masks].mean(), np.mean([positive[i][r].mean() for i, r in regions])))
    return np.array(points)


def main():
    golden = {}

    def keep(name, points):
        golden[f"{name}.count"] = [len(points)]
        golden[name] = points

    for case in IMAGES:
        roc, precision = roc_and_precision(*image_case(*case))
        keep(f"images{case[0]}.roc", roc)
        keep(f"images{case[0]}.precision", precision)
    for case in PIXELS:
        maps, masks = pixel_case(*case)
        roc, precision = roc_and_precision(maps.ravel(), masks.ravel())
        keep(f"pixels{case[0]}.roc", roc)
        keep(f"pixels{case[0]}.precision", precision)
        keep(f"pixels{case[0]}.pro", pro(maps, masks))
    save(os.path.join(FOLDER, "curves.bin"), golden)


main()
