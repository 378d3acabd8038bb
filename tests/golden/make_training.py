#!/usr/bin/env python3
"""Writes training.bin: the losses of ten steps of training by PyTorch in double, always on the same batch, with
torch.optim.SGD. Weights, input and the teacher's maps come from formula.py (the twin of tests/distill/test_trainer.c).

Training magnifies last digits wherever a ReLU or a maximum decides differently. The seed of the input is therefore the
one, of 6, at which PyTorch's own curve moves least when weights and input are disturbed by 1e-7; it is written into
the file.

Run: /usr/bin/python3 tests/golden/make_training.py   (PyTorch 1.13, torchvision 0.14 of Debian 12; some minutes)"""
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


def tensor(seed, scale, offset, shape, disturbance=0.0):
    values = torch.from_numpy(formula.fill(seed, scale, offset, shape).astype(np.float64))
    return values * (1 + disturbance * torch.randn(shape, dtype=torch.float64))


def convolutions(model):
    """(convolution, batch norm) in dcam's order: conv1; per block conv1, conv2, downsample."""
    yield model.conv1, model.bn1
    for stage in STAGES:
        for block in getattr(model, stage):
            yield block.conv1, block.bn1
            yield block.conv2, block.bn2
            if block.downsample is not None:
                yield block.downsample[0], block.downsample[1]


def student(disturbance):
    """As case_weights of tests/net/net_case.h."""
    model = torchvision.models.resnet18(weights=None).double()
    with torch.no_grad():
        for i, (conv, bn) in enumerate(convolutions(model)):
            scale = np.float32(np.sqrt(6.0 / (conv.out_channels * conv.kernel_size[0] ** 2)))
            for k, (t, s, offset) in enumerate(((conv.weight, scale, 0.0), (bn.weight, 0.25, 1.0), (bn.bias, 0.25, 0.0),
                                                (bn.running_mean, 0.25, 0.0), (bn.running_var, 0.5, 1.0))):
                t.copy_(tensor(100 + 10 * i + k, s, offset, tuple(t.shape), disturbance))
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


def curve(losses, attention, rate, seed, disturbance=0.0):
    model = student(disturbance)
    blocks = []
    if attention:
        for k, c in enumerate(CHANNELS):
            w1 = tensor(3000 + 2 * k, 1 / np.sqrt(c), 0.0, (c // 8, c))
            w2 = tensor(3001 + 2 * k, 1 / np.sqrt(c // 8), 0.0, (c, c // 8))
            blocks.append((w1.requires_grad_(), w2.requires_grad_()))
    x = tensor(seed, 2.0, 0.0, (BATCH, 3, SIDE, SIDE), disturbance)
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
torch.manual_seed(1)
torch.set_num_threads(1)  # the order of sums, and so the seed found, must not depend on the machine
for name, arguments in (("dcam", ((cd, kd), True, 0.1)), ("stfpm", ((l2,), False, 0.4))):
    found = []
    for seed in range(1, 7):
        rows, variance = curve(*arguments, seed)
        moved = max(np.abs(curve(*arguments, seed, 1e-7)[0] / rows - 1).max() for _ in range(2))
        print(f"{name}: seed {seed}: {moved:.1e}", flush=True)
        found.append((moved, seed, rows, variance))
    moved, seed, rows, variance = min(found, key=lambda f: f[0])
    print(f"{name}: seed {seed} is taken")
    golden[f"{name}.seed"] = [seed]
    for k, row in enumerate(rows):
        golden[f"{name}.{(('loss',) + tuple(loss.__name__ for loss in arguments[0]))[k]}"] = row
    golden[f"{name}.variance"] = [variance]
golden_file.save(os.path.join(HERE, "training.bin"), golden)
