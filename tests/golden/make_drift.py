#!/usr/bin/python3
"""Writes drift.bin: p-values by SciPy. tests/metrics/test_drift.c makes the same inputs."""
import os

import numpy as np
from scipy import stats

from formula import value
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
# seed, old, new, shift
KS = [(1, 8, 20, 0.0), (2, 28, 50, 0.6), (3, 40, 40, 0.3), (4, 30, 12, 1.9), (5, 100, 300, 0.25), (6, 1, 1, 5.0)]
# n, k, m, x
EXCEEDANCE = [(100, 99, 50, 0), (100, 99, 50, 3), (28, 28, 40, 2), (20, 10, 7, 7), (1000, 950, 200, 25)]
# n, y, m, x
FISHER = [(40, 2, 60, 12), (8, 0, 20, 1), (100, 30, 10, 3)]


def ks(seed, n, m, shift):
    old, new = value(seed, n), value(seed + 50, m) + np.float32(shift)
    found = stats.ks_2samp(old, new, method="exact")
    return [found.statistic, found.pvalue]


def main():
    golden = {"ks": [ks(*case) for case in KS],
              "exceedance": [stats.betabinom.sf(x - 1, m, n + 1 - k, k) for n, k, m, x in EXCEEDANCE],
              "fisher": [stats.fisher_exact([[x, m - x], [y, n - y]], alternative="greater")[1] for n, y, m, x in FISHER],
              "limit": [stats.kstwobign.sf(0.021 * np.sqrt(5000 * 5000 / 10000.0))]}
    for name, rows in golden.items():
        print(name, rows)
    save(os.path.join(FOLDER, "drift.bin"), golden)


main()
