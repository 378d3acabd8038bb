#!/usr/bin/env python3
"""Writes pretrain.bin: the classifiers of the pre-training (mean over positions, linear, cross-entropy with smoothed
labels, stages weighted 0.3, 0.5, 1) and their gradients by PyTorch's autograd in double. Inputs come from formula.py.

Run: /usr/bin/python3 tests/golden/make_pretrain.py   (PyTorch 1.13 of Debian 12)"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import formula
import golden_file

HERE = os.path.dirname(os.path.abspath(__file__))
N, CLASSES, SMOOTHING = 3, 11, 0.1
SHAPES = ((17, 4, 3), (9, 2, 2), (24, 1, 2))  # channels, height, width
WEIGHTS = (0.3, 0.5, 1.0)
LABELS = torch.tensor([4, 0, 10])


def main():
    values = torch.from_numpy(formula.fill(40, 0.5, 0.0, (sum((c + 1) * CLASSES for c, _, _ in SHAPES),)).astype(np.float64))
    values.requires_grad_()
    maps, total, begin = [], 0, 0
    for k, (c, h, w) in enumerate(SHAPES):
        x = torch.from_numpy(formula.fill(41 + k, 2.0, 0.5, (N, h, w, c)).astype(np.float64)).requires_grad_()
        weight = values[begin:begin + c * CLASSES].view(c, CLASSES)
        bias = values[begin + c * CLASSES:begin + (c + 1) * CLASSES]
        logits = x.mean((1, 2)) @ weight + bias
        total = total + WEIGHTS[k] * F.cross_entropy(logits, LABELS, label_smoothing=SMOOTHING)
        begin += (c + 1) * CLASSES
        maps.append(x)
    total.backward()
    right = (logits.argmax(1) == LABELS).sum()
    golden = {"loss": total.detach().numpy(), "right": right.numpy(), "gradient": values.grad.numpy()}
    for k, x in enumerate(maps):
        golden[f"d_features{k}"] = x.grad.numpy()
    golden_file.save(os.path.join(HERE, "pretrain.bin"), golden)


if __name__ == "__main__":
    main()
