#!/usr/bin/python3
"""Writes interval.bin: quantiles of scipy.stats.t, and Newcombe's interval of an AUROC (method 5) by scipy's root finder.
tests/metrics/test_interval.c asks for the same."""
import os

from scipy import stats
from scipy.optimize import brentq

from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
DEGREES = [1, 2, 3, 4, 7, 26, 39, 500]
AUROCS = [(0.5, 10, 10), (0.9, 20, 40), (0.99, 41, 67), (1.0, 50, 48), (0.0, 5, 9), (0.02, 30, 12)]


def newcombe(auroc, good, defective):
    z, others = stats.norm.ppf(0.975), (good + defective) / 2 - 1

    def beyond(x):
        variance = x * (1 - x) * (1 + others * (1 - x) / (2 - x) + others * x / (1 + x)) / (good * defective)
        return (auroc - x) ** 2 - z * z * variance

    nearly = 1e-12
    low = brentq(beyond, nearly, auroc - nearly, xtol=1e-15) if auroc > 0 else 0
    high = brentq(beyond, auroc + nearly, 1 - nearly, xtol=1e-15) if auroc < 1 else 1
    return [low, high]


save(os.path.join(FOLDER, "interval.bin"), {
    "student": [[stats.t.ppf(0.975, n), stats.t.ppf(0.9, n)] for n in DEGREES],
    "auroc": [newcombe(*case) for case in AUROCS],
})
