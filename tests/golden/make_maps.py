#!/usr/bin/python3
"""Writes maps.bin: cosine and KD maps, up-sampling, smoothing, combination and top-p scores by PyTorch and scipy in
double. tests/detect/test_map.c makes the same inputs."""
import os

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from formula import fill
from golden_file import save

FOLDER = os.path.dirname(os.path.abspath(__file__))
HEIGHT, WIDTH = 32, 64
CHANNELS = (64, 128, 256)
UPSAMPLE = [(8, 16, 8, 16), (8, 16, 32, 64), (3, 5, 7, 300), (1, 1, 4, 3), (2, 4, 8, 16), (6, 7, 9, 8)]
GAUSSIAN = [(32, 40, 1.0), (32, 40, 4.0), (16, 24, 2.3), (5, 3, 4.0), (20, 20, 0.1), (9, 300, 0.6)]


def features(seed):
    """Channel-last, as the C side holds them; the student is the teacher with noise."""
    teacher = [fill(seed + k, 1.0, 0.25, (HEIGHT >> (k + 2), WIDTH >> (k + 2), c)) for k, c in enumerate(CHANNELS)]
    student = [t + fill(seed + 10 + k, 0.5, 0.0, t.shape) for k, t in enumerate(teacher)]
    to = lambda x: torch.from_numpy(x.astype(np.float64)).permute(2, 0, 1)[None]
    return [to(t) for t in teacher], [to(s) for s in student]


def cosine(t, s):
    return (1 - (t * s).sum(1) / (t.norm(dim=1) * s.norm(dim=1) + 1e-6))[:, None]


def kd(t, s, temperature):
    log_p = F.log_softmax(t.flatten(2) / temperature, 2)
    log_q = F.log_softmax(s.flatten(2) / temperature, 2)
    p, q = log_p.exp(), log_q.exp()
    k = temperature ** 2 * p.shape[2] / p.shape[1] * (p * (log_p - log_q) - p + q).sum(1)
    loss = temperature ** 2 * F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(2).mean()
    assert abs(k.mean() - loss) < 1e-12  # the mean over positions is the loss
    return k.reshape(t.shape[0], 1, t.shape[2], t.shape[3])


def bilinear(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def combine(stages, kind):
    first = [bilinear(s, stages[0].shape[2:]) for s in stages]
    total = first[0] * first[1] * first[2] if kind == "product" else sum(first)
    return bilinear(total, (HEIGHT, WIDTH)).numpy().reshape(HEIGHT, WIDTH)


def main():
    golden = {}
    t, s = features(40)
    stages = [cosine(a, b) for a, b in zip(t, s)]
    for k, stage in enumerate(stages):
        golden[f"stage{k}"] = stage.numpy()
    golden["sum"] = combine(stages, "sum")
    golden["product"] = combine(stages, "product")
    standard = [(x - m) / d for x, m, d in zip(stages, (0.05, 0.0625, 0.03125), (0.25, 0.125, 0.5))]
    golden["standard"] = gaussian_filter(combine(standard, "sum"), 2.0, mode="reflect", truncate=4.0)
    golden["kd"] = combine([x + 0.5 * kd(a, b, 2.0) for x, a, b in zip(stages, t, s)], "sum")
    golden["kd_sharp"] = kd(t[2] * 100, s[2] * 100, 1.0).numpy()
    ranked = np.sort(golden["sum"].ravel())[::-1]
    golden["scores"] = [ranked[0]] + [ranked[:max(1, int(p / 100 * ranked.size))].mean() for p in (0.01, 1.0, 12.5, 100.0)]
    for i, (ih, iw, oh, ow) in enumerate(UPSAMPLE):
        x = torch.from_numpy(fill(60 + i, 1.0, 0.0, (1, 1, ih, iw)).astype(np.float64))
        golden[f"upsample{i}"] = bilinear(x, (oh, ow)).numpy()
    for i, (h, w, sigma) in enumerate(GAUSSIAN):
        x = fill(70 + i, 1.0, 0.0, (h, w)).astype(np.float64)
        golden[f"gaussian{i}"] = gaussian_filter(x, sigma, mode="reflect", truncate=4.0)
    save(os.path.join(FOLDER, "maps.bin"), golden)


main()
