#!/usr/bin/env python3
"""Writes net_bf16.bin: one step of the whole trunk in training with bf16 maps, by PyTorch in double with every map, every
gradient of a map and every factor rounded to bf16 where dcam rounds (docs/numerics.md): features, and the gradient of
every weight. The same network, input and cotangents as make_net.py's.

A sum in another order may be rounded to the neighbour, and a ReLU then turn; so the results are comparable in their
norms, not digit by digit, and all of a small case is kept rather than samples of a large one.

Run: /usr/bin/python3 tests/golden/make_net_bf16.py   (PyTorch 1.13, torchvision 0.14 of Debian 12)"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import formula
import golden_file
from make_net import HERE, STAGES, convolutions, network, picture, sample

SAMPLES = 1000


def rounded(x):
    return x.float().bfloat16().double()


class Value(torch.autograd.Function):
    """Rounds the value; its gradient passes."""
    @staticmethod
    def forward(ctx, x):
        return rounded(x)

    @staticmethod
    def backward(ctx, g):
        return g


class Gradient(torch.autograd.Function):
    """Rounds the gradient; the value passes."""
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return rounded(g)


value, gradient = Value.apply, Gradient.apply


def convolve(conv, x, first=False):
    y = F.conv2d(x if first else gradient(x), value(conv.weight), None, conv.stride, conv.padding)
    return gradient(value(y))


def taps(model, x):
    z = F.max_pool2d(F.relu(model.bn1(convolve(model.conv1, rounded(x), True))), 3, 2, 1)
    x = value(gradient(z))
    out = []
    for stage in STAGES:
        for block in getattr(model, stage):
            z = value(F.relu(block.bn1(convolve(block.conv1, x))))
            y = block.bn2(convolve(block.conv2, z))
            if block.downsample is None:
                shortcut = x
            else:
                shortcut = block.downsample[1](convolve(block.downsample[0], x))
            x = value(F.relu(gradient(y + shortcut)))
        out.append(gradient(x))
    return out


def case(golden, seed, n, height, width):
    model = network().train()
    maps = taps(model, picture(seed, n, height, width))
    loss = 0.0
    for k, m in enumerate(maps):
        shape = (n, m.shape[2], m.shape[3], m.shape[1])
        values = m.permute(0, 2, 3, 1)
        golden[f"bf16.{k}.features"] = sample(values.detach().numpy(), SAMPLES)
        loss = loss + (values * torch.from_numpy(formula.fill(50 + k, 1.0, 0.0, shape).astype(np.float64))).sum()
    loss.backward()
    golden["bf16.case"] = [seed, n, height, width, loss.item()]
    for i, (conv, bn) in enumerate(convolutions(model)):
        for name, g in (("weight", conv.weight.grad), ("gamma", bn.weight.grad), ("beta", bn.bias.grad)):
            g = g.numpy()
            golden[f"bf16.{i}.{name}"] = np.concatenate(([np.sqrt((g ** 2).sum())], sample(g, min(g.size, SAMPLES))))
        golden[f"bf16.{i}.mean"] = sample(bn.running_mean.numpy(), 16)
        golden[f"bf16.{i}.variance"] = sample(bn.running_var.numpy(), 16)


golden = {}
case(golden, 1, 4, 64, 96)
golden_file.save(os.path.join(HERE, "net_bf16.bin"), golden)
