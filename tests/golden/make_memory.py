#!/usr/bin/python3
"""Writes memory.bin: descriptors, projected descriptors and distances to prototypes of the memory of normal patches, and
the variance that the best directions catch, by PyTorch and numpy in double. tests/detect/test_patches.c makes the same
inputs."""
import os

import numpy as np
import torch
import torch.nn.functional as F

from formula import fill
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
HEIGHT, WIDTH, DIMENSIONS, PROTOTYPES, CHANNELS, DIRECTIONS = 64, 96, 24, 37, 40, 7


def stage(seed, stride, channels):
    x = fill(seed, 1.0, 0.25, (HEIGHT // stride, WIDTH // stride, channels)).astype(np.float64)
    x = torch.from_numpy(np.maximum(x, 0)).permute(2, 0, 1)[None]
    return F.normalize(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), dim=1)


def main():
    fine, coarse = stage(81, 8, 128), stage(82, 16, 256)
    coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
    raw = torch.cat([fine, coarse], 1)[0].flatten(1).T.numpy()
    embedded = raw @ fill(83, 0.125, 0.0, (384, DIMENSIONS)).astype(np.float64)
    prototypes = fill(84, 0.5, 0.0, (PROTOTYPES, DIMENSIONS)).astype(np.float64)
    distances = np.sqrt(((embedded[:, None] - prototypes[None]) ** 2).sum(2)).min(1)
    mixed = fill(85, 1.0, 0.0, (200, CHANNELS)).astype(np.float64) * np.linspace(3, 0.1, CHANNELS)
    covariance = np.cov(mixed.T, bias=True)
    save(os.path.join(FOLDER, "memory.bin"), {
        "raw": raw[::7, ::5], "embedded": embedded, "distances": distances, "covariance": covariance,
        "caught": [np.sort(np.linalg.eigvalsh(covariance))[::-1][:DIRECTIONS].sum()]})


main()
