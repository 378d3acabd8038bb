#!/usr/bin/env python3
"""Writes training.bin: the losses of ten steps of training by PyTorch in double, always on the same batch, with
torch.optim.SGD. Weights, input and the teacher's maps come from formula.py (the twin of tests/distill/test_trainer.c).

Training magnifies last digits wherever a ReLU or a maximum decides differently: disturbed by 1e-6, PyTorch's own curve
moves by 2e-3 to 5e-3 at the learning rate of the preset (dcam, 0.1), in proportion to the rate. The rates here are a
tenth of the presets' or less; all gradients 1 % too large still show.

Run: /usr/bin/python3 tests/golden/make_training.py   (PyTorch 1.13, torchvision 0.14 of Debian 12; seconds)"""
import os

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

import formula
import golden_file

HERE = os.path.dirname(os.path.abspath(__file__))
STAGES = ("layer1", "layer2", "layer3")
CHANNELS = (64, 128, 256)
STEPS, BATCH, SIDE = 10, 4, 64


def tensor(seed, scale, offset, shape):
    return torch.from_numpy(formula.fill(seed, scale, offset, shape).astype(np.float64))


def convolutions(model):
    """(convolution, batch norm) in dcam's order: conv1; per block conv1, conv2, downsample."""
    yield model.conv1, model.bn1
    for stage in STAGES:
        for block in getattr(model, stage):
            yield block.conv1, block.bn1
            yield block.conv2, block.bn2
            if block.downsample is not None:
                yield block.downsample[0], block.downsample[1]


def student():
    """As case_weights of tests/net/net_case.h."""
    model = torchvision.models.resnet18(weights=None).double()
    with torch.no_grad():
        for i, (conv, bn) in enumerate(convolutions(model)):
            scale = np.float32(np.sqrt(6.0 / (conv.out_channels * conv.kernel_size[0] ** 2)))
            for k, (t, s, offset) in enumerate(((conv.weight, scale, 0.0), (bn.weight, 0.25, 1.0), (bn.bias, 0.25, 0.0),
                                                (bn.running_mean, 0.25, 0.0), (bn.running_var, 0.5, 1.0))):
                t.copy_(tensor(100 + 10 * i + k, s, offset, tuple(t.shape)))
    return model.train()


def taps(model, x):
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    out = []
    for stage in STAGES:
        x = getattr(model, stage)(x)
        out.append(x)
    return out


def channel_attention(s, w1, w2):
    def gate(v):
        return F.relu(v @ w1.T) @ w2.T

    w = torch.sigmoid(gate(s.mean((2, 3))) + gate(s.amax((2, 3))))
    return s * w[:, :, None, None]


def cd(t, s):
    return (1 - (t * s).sum(1) / (t.norm(dim=1) * s.norm(dim=1) + 1e-6)).mean()


def kd(t, s):
    p, q = F.log_softmax(t.flatten(2), 2), F.log_softmax(s.flatten(2), 2)
    return (p.exp() * (p - q)).sum(2).mean()


def l2(t, s):
    return 0.5 * (F.normalize(t, dim=1) - F.normalize(s, dim=1)).pow(2).sum(1).mean()


def curve(losses, attention, rate):
    model = student()
    blocks = []
    if attention:
        for k, c in enumerate(CHANNELS):
            w1 = tensor(3000 + 2 * k, 1 / np.sqrt(c), 0.0, (c // 8, c))
            w2 = tensor(3001 + 2 * k, 1 / np.sqrt(c // 8), 0.0, (c, c // 8))
            blocks.append((w1.requires_grad_(), w2.requires_grad_()))
    x = tensor(1, 2.0, 0.0, (BATCH, 3, SIDE, SIDE))
    maps = []
    for k, c in enumerate(CHANNELS):
        side = SIDE // (4 << k)
        m = tensor(2000 + k, 1.0, 0.5, (BATCH, side, side, c)).to(torch.bfloat16).double()
        maps.append(m.permute(0, 3, 1, 2))
    trained = [p for conv, bn in convolutions(model) for p in (conv.weight, bn.weight, bn.bias)]
    sgd = torch.optim.SGD(trained + [w for pair in blocks for w in pair], lr=rate, momentum=0.9, weight_decay=1e-4)
    rows = []
    for _ in range(STEPS):
        features = taps(model, x)
        if attention:
            features = [channel_attention(s, *w) for s, w in zip(features, blocks)]
        terms = [sum(loss(t, s) for t, s in zip(maps, features)) for loss in losses]
        total = sum(terms)
        sgd.zero_grad()
        total.backward()
        sgd.step()
        rows.append([total.item()] + [term.item() for term in terms])
    variance = torch.cat([bn.running_var for _, bn in convolutions(model)])
    return np.array(rows).T, variance.norm().item()


golden = {}
for name, losses, attention, rate in (("dcam", (cd, kd), True, 0.01), ("stfpm", (l2,), False, 0.03)):
    rows, variance = curve(losses, attention, rate)
    print(name, rows[0])
    for term, row in zip(["loss"] + [loss.__name__ for loss in losses], rows):
        golden[f"{name}.{term}"] = row
    golden[f"{name}.rate"] = [rate]
    golden[f"{name}.variance"] = [variance]
golden_file.save(os.path.join(HERE, "training.bin"), golden)
