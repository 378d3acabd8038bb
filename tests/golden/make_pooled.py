#!/usr/bin/python3
"""Writes pooled.bin: thresholds of several classes from their normal scores together, worked out with the score at hand
really left out (numpy). tests/detect/test_pooled.c makes the same scores."""
import math
import os

import numpy as np

from formula import value
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
PRIOR = 10
# scores of each class, seed, scale, offset of each
SETS = {"many": ([8, 25, 28, 7, 26, 17, 28, 24], 100, 3.0, 2.0),   # 163 residuals: an order statistic at 0.01
        "few": ([1, 2, 9], 200, 1.0, 0.5),                          # 11: the tail is extrapolated
        "linear": ([12, 15], 300, 2.0, -0.7),                       # scores below 0: no logarithms
        "own": ([120, 20, 30], 400, 1.0, 1.0)}                      # the first has enough of its own at 0.1
RATES = [0.01, 0.05, 0.1]


def scores(sizes, seed, scale, offset):
    for k, n in enumerate(sizes):
        yield np.sort((value(seed + k, n) * np.float32(scale + k) + np.float32(offset)).astype(np.float32)).astype(np.float64)


def above(x):
    return float(np.nextafter(np.float32(x), np.float32(np.inf)))


def quantile(x, rate):
    """An order statistic, or the exponential tail beyond the scores (docs/method.md)."""
    x = np.sort(np.asarray(x, np.float32)).astype(np.float64)
    n = len(x)
    k = math.ceil((n + 1) * (1 - rate) * (1 - 1e-12))
    if k <= n:
        return above(x[k - 1])
    if n == 1:
        return max(x[0] + 0.1 * abs(x[0]) * math.log(1 / (2 * rate)), above(x[0]))
    m = min(n - 1, max(10, n // 4))
    u = x[n - 1 - m]
    return max(u + np.sum(x[n - m:] - u) * (((m + 1) / ((n + 1) * rate)) ** (1 / m) - 1), above(x[-1]))


def within(classes):
    return sum(((x - x.mean()) ** 2).sum() for x in classes if len(x)) / sum(len(x) - 1 for x in classes if len(x))


def strays(classes, k):
    x = classes[k]
    q = ((x - x.mean()) ** 2).sum()
    return math.sqrt((q + PRIOR * within(classes)) / (len(x) - 1 + PRIOR) * (1 + 1 / len(x)))


def thresholds(classes, rate):
    log = all((x > 0).all() for x in classes)
    scaled = [np.log(x) if log else x for x in classes]
    residuals = []
    for k, x in enumerate(scaled):
        for i in range(len(x) if len(x) > 1 else 0):
            rest = list(scaled)
            rest[k] = np.delete(x, i)
            residuals.append((x[i] - rest[k].mean()) / strays(rest, k))
    q = quantile(residuals, rate)
    for k, x in enumerate(scaled):
        if (len(x) + 1) * rate >= 10:
            yield quantile(classes[k], rate)
        else:
            at = x.mean() + q * strays(scaled, k)
            yield math.exp(at) if log else at


golden = {name: [list(thresholds(list(scores(*case)), rate)) for rate in RATES] for name, case in SETS.items()}
for name, rows in golden.items():
    print(name, rows)
save(os.path.join(FOLDER, "pooled.bin"), golden)
