#!/usr/bin/python3
"""Writes metrics.bin: ranking metrics by scikit-learn; AUPRO and the rescaled PRO by brute force (every threshold
applied to every map, regions by scikit-image). tests/metrics/test_metrics.c makes the same inputs."""
import os
import warnings

import numpy as np
from skimage import measure
from sklearn import metrics

from formula import value
from golden_file import save

warnings.filterwarnings("ignore")
FOLDER = os.path.dirname(os.path.abspath(__file__))

# seed, count, quantum (0: none), gain of anomalous items, share of anomalous items
RANKING = [(1, 1000, 0, 0.5, 0.3), (2, 1000, 4, 0.5, 0.3), (3, 37, 2, 0.25, 0.5), (4, 500, 1, 0.0, 0.5), (5, 5000, 64, -0.5, 0.01),
           (6, 2, 0, 0.0, 0.5)]
# seed, images, height, width, quantum, gain
PIXEL = [(11, 5, 24, 31, 0, 0.5), (12, 5, 24, 31, 4, 0.5), (13, 3, 17, 16, 1, 0.0), (14, 4, 20, 20, 16, -0.5), (15, 6, 16, 24, 64, 2.0),
         (16, 2, 9, 7, 2, 1.0)]


def quantise(v, quantum):
    v = v.astype(np.float32)
    return np.floor(v * np.float32(quantum)) / np.float32(quantum) if quantum else v


def ranking_case(seed, count, quantum, gain, share):
    labels = (value(seed + 100, count) * 0.5 + 0.5 < share).astype(int)
    labels[0], labels[-1] = 0, 1
    return quantise(value(seed, count) + labels.astype(np.float32) * np.float32(gain), quantum), labels


def ranking_metrics(scores, labels):
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    return [metrics.roc_auc_score(labels, scores), metrics.average_precision_score(labels, scores), f1]


def pixel_case(seed, images, height, width, quantum, gain):
    """Every third image is good; the others have blocks of 3 x 3 pixels and single pixels as defects."""
    coarse = value(seed + 200, images * 10000).reshape(images, 100, 100)
    y, x = np.mgrid[0:height, 0:width]
    masks = coarse[:, y // 3, x // 3] > np.float32(0.6)
    masks |= value(seed + 300, images * height * width).reshape(masks.shape) > np.float32(0.97)
    masks[::3] = False
    maps = value(seed, masks.size).reshape(masks.shape) + masks.astype(np.float32) * np.float32(gain)
    return quantise(maps, quantum), masks


def regions_of(masks):
    out = []
    for i, mask in enumerate(masks):
        labels = measure.label(mask, connectivity=2)
        out += [(i, labels == k) for k in range(1, labels.max() + 1)]
    return out


def aupro(maps, masks):
    regions = regions_of(masks)
    fpr, pro = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        positive = maps >= threshold
        pro.append(np.mean([positive[i][r].mean() for i, r in regions]))
        fpr.append(positive[~masks].mean())
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], pro, pro[1:]):
        if x0 >= 0.3:
            break
        if x1 > 0.3:
            y1 = y0 + (y1 - y0) * (0.3 - x0) / (x1 - x0)
            x1 = 0.3
        area += (x1 - x0) * (y0 + y1) / 2
    return area / 0.3


def rescale(x):
    return (x - x.min()) / (x.max() - x.min())


def pro_rescaled(maps, masks):
    regions = regions_of(masks)
    top, bottom = float(maps.max()), float(maps.min())
    delta = (top - bottom) / 4000
    fpr, pro = [], []
    for k in range(4000):
        positive = maps.astype(np.float64) > top - k * delta
        pro.append(np.mean([positive[i][r].mean() for i, r in regions]))
        fpr.append(positive[~masks].mean())
    fpr, pro = np.array(fpr), np.array(pro)
    kept = fpr <= 0.3
    if kept.sum() < 2 or np.ptp(fpr[kept]) == 0 or np.ptp(pro[kept]) == 0:
        return np.nan  # the rescaling divides by zero
    return metrics.auc(rescale(fpr[kept]), rescale(pro[kept]))


def main():
    golden = {}
    for case in RANKING:
        golden[f"ranking{case[0]}"] = ranking_metrics(*ranking_case(*case))
    for case in PIXEL:
        maps, masks = pixel_case(*case)
        golden[f"pixel{case[0]}"] = ranking_metrics(maps.ravel(), masks.ravel()) + [
            aupro(maps, masks), pro_rescaled(maps, masks), len(regions_of(masks))]
        labels = np.stack([measure.label(m, connectivity=2) for m in masks])
        # one number a region row: where each region begins and how many pixels it has
        golden[f"components{case[0]}"] = [[i, np.flatnonzero(r)[0], r.sum()] for i, r in regions_of(masks)]
        assert labels.max() > 0
        print(case, golden[f"pixel{case[0]}"])
    save(os.path.join(FOLDER, "metrics.bin"), golden)


main()
