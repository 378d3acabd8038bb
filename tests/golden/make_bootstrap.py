#!/usr/bin/python3
"""Writes bootstrap.bin: percentile intervals by scipy.stats.bootstrap, Jeffreys' intervals by scipy.stats.beta, quantiles
by numpy. tests/metrics/test_bootstrap.c makes the same inputs."""
import os

import numpy as np
from scipy import stats
from sklearn import metrics

from formula import value
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
# seed, good, defective, gain
IMAGES = [(1, 40, 30, 0.5), (2, 25, 50, 1.0)]
RATES = [(0, 20), (3, 50), (50, 50), (1, 8)]
RESAMPLES = 20000


def f1max(labels, scores):
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    return np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))


def intervals(seed, good, defective, gain):
    scores = value(seed, good + defective).astype(np.float32)
    scores[good:] += np.float32(gain)
    rows = []
    for metric in (metrics.roc_auc_score, metrics.average_precision_score, f1max):
        def statistic(a, b):
            return metric(np.r_[np.zeros(len(a)), np.ones(len(b))], np.r_[a, b])
        found = stats.bootstrap((scores[:good], scores[good:]), statistic, vectorized=False, n_resamples=RESAMPLES,
                                method="percentile", confidence_level=0.95, random_state=np.random.default_rng(seed))
        rows.append([found.confidence_interval.low, found.confidence_interval.high])
    return rows


def main():
    golden = {f"images{case[0]}": intervals(*case) for case in IMAGES}
    golden["rates"] = [stats.beta.ppf([0.025, 0.975], k + 0.5, n - k + 0.5) for k, n in RATES]
    golden["quantiles"] = np.quantile(value(9, 37).astype(np.float64), [0.025, 0.975])
    for name, rows in golden.items():
        print(name, rows)
    save(os.path.join(FOLDER, "bootstrap.bin"), golden)


main()
