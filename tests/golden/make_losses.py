#!/usr/bin/env python3
"""Writes losses.bin and attention.bin: the losses and attention blocks of method.md and their gradients by
PyTorch's autograd in double. Inputs come from formula.py, so that only results are kept.

Run: /usr/bin/python3 tests/golden/make_losses.py   (PyTorch 1.13 of Debian 12)"""
import os

import numpy as np
import torch
import torch.nn.functional as F

import formula
import golden_file

HERE = os.path.dirname(os.path.abspath(__file__))
B, H, W, C = 2, 5, 7, 17  # 17 channels: two whole vectors and a tail of one


def maps(seed, c=C, h=H, w=W, b=B):
    """B x C x H x W doubles (values as f32) from a B x H x W x C fill."""
    x = formula.fill(seed, 2.0, 0.5, (b, h, w, c)).astype(np.float64)
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def cd(t, s):
    n = t.norm(dim=1) * s.norm(dim=1) + 1e-6
    return (1 - (t * s).sum(1) / n).mean()


def cds(t, s):
    t, s = t.flatten(2), s.flatten(2)
    n = t.norm(dim=2) * s.norm(dim=2) + 1e-6
    return (1 - (t * s).sum(2) / n).mean()


def kd(t, s, temperature, scale):
    p = F.log_softmax(t.flatten(2) / temperature, 2)
    q = F.log_softmax(s.flatten(2) / temperature, 2)
    kl = (p.exp() * (p - q)).sum(2)
    return kl.sum(1).mean() if scale == "sum" else temperature ** 2 * kl.mean()


def affinity(t, s):
    t, s = F.normalize(t.flatten(2), dim=2), F.normalize(s.flatten(2), dim=2)
    n = t.shape[2]
    d = torch.matmul(s.transpose(1, 2), s) - torch.matmul(t.transpose(1, 2), t)
    return (d.pow(2).sum((1, 2)) / n ** 2).sqrt().mean()


def l2(t, s):
    d = F.normalize(t, dim=1) - F.normalize(s, dim=1)
    return (0.5 * d.pow(2).sum(1)).mean()


def last(x):
    """B x C x H x W -> channels last."""
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()


def losses():
    out = {}
    cases = {
        "cd": cd, "cds": cds, "affinity": affinity, "l2": l2,
        "kd_mean": lambda t, s: kd(t, s, 1.0, "mean"),
        "kd_sum": lambda t, s: kd(t, s, 2.5, "sum"),
        "kd_mean_t": lambda t, s: kd(t, s, 4.0, "mean"),
        "mixed": lambda t, s: 2 * cd(t, s) + 0.5 * cds(t, s) + 3 * kd(t, s, 2.0, "mean") + 0.25 * affinity(t, s) + l2(t, s),
    }
    for name, loss in cases.items():
        t, s = maps(1), maps(2).requires_grad_()
        value = loss(t, s)
        value.backward()
        out[name] = [value.item()]
        out[name + ".d_s"] = last(s.grad)
    # A student position and a student channel of zeros; a constant channel in both.
    for name in ("cd", "cds"):
        t, s = maps(1), maps(2)
        s[0, :, 1, 2] = 0
        s[1, 3] = 0
        t[1, 4] = 1
        s[1, 4] = 1
        s.requires_grad_()
        value = cases[name](t, s)
        value.backward()
        out[name + "_zeros"] = [value.item()]
        out[name + "_zeros.d_s"] = last(s.grad)
    golden_file.save(os.path.join(HERE, "losses.bin"), out)


def channel_block(x, values):
    c = x.shape[1]
    h = c // 8
    w1, w2 = values[: h * c].view(h, c), values[h * c: 2 * h * c].view(c, h)

    def mlp(v):
        return F.relu(v @ w1.t()) @ w2.t()

    a, m = F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)
    return x * torch.sigmoid(mlp(a) + mlp(m))[:, :, None, None]


def spatial_block(x, values):
    u = torch.cat([x.mean(1, keepdim=True), x.max(dim=1, keepdim=True)[0]], 1)
    return x * torch.sigmoid(F.conv2d(u, values.view(1, 2, 7, 7), padding=3))


def attention():
    out = {}
    c, h, w = 24, 6, 5
    n_channel, n_spatial = 2 * c * (c // 8), 98
    blocks = {
        "channel": (n_channel, channel_block),
        "spatial": (n_spatial, spatial_block),
        "cbam": (n_channel + n_spatial, lambda x, v: spatial_block(channel_block(x, v[:n_channel]), v[n_channel:])),
    }
    for name, (count, block) in blocks.items():
        for ties in (False, True):
            x = maps(3, c, h, w)
            if ties:  # as after a ReLU: many zeros, whole positions and channels of them, and maxima met twice
                x = torch.clamp(torch.round(x), 0, 2)
                x[0, :, 2, 2] = 0
                x[1, 5] = 0
            x.requires_grad_()
            values = torch.from_numpy(formula.fill(4, 0.4, 0.05, (count,)).astype(np.float64)).requires_grad_()
            g = maps(5, c, h, w)
            y = block(x, values)
            (y * g).sum().backward()
            key = name + ("_ties" if ties else "")
            out[key] = last(y) if not ties else last(y)[:, :1]
            out[key + ".d_s"] = last(x.grad)
            out[key + ".d_values"] = values.grad.numpy()
    golden_file.save(os.path.join(HERE, "attention.bin"), out)


if __name__ == "__main__":
    losses()
    attention()
