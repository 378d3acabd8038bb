#!/usr/bin/env python3
"""Writes net.bin: feature maps of torchvision's ResNet-18 in evaluation mode at three input sizes, and the gradient of
the whole network in training mode, by PyTorch in double. Weights, inputs and cotangents come from formula.py (the twin
of tests/net/net_case.h), so that only sampled results and norms are kept.

A gradient in f32 is only comparable where no ReLU and no maximum decides differently than in double. The seed of a
gradient case is therefore the one, of 24, whose closest decision is widest; it is written into the file.

Run: /usr/bin/python3 tests/golden/make_net.py   (PyTorch 1.13, torchvision 0.14 of Debian 12; some minutes)"""
import os

import numpy as np
import torch
import torch.nn.functional as F
import torchvision

import formula
import golden_file

HERE = os.path.dirname(os.path.abspath(__file__))
STAGES = ("layer1", "layer2", "layer3")
FEATURE_SAMPLES, GRADIENT_SAMPLES = 300, 100


def convolutions(model):
    """(convolution, batch norm) in dcam's order: conv1; per block conv1, conv2, downsample."""
    yield model.conv1, model.bn1
    for stage in STAGES:
        for block in getattr(model, stage):
            yield block.conv1, block.bn1
            yield block.conv2, block.bn2
            if block.downsample is not None:
                yield block.downsample[0], block.downsample[1]


def network():
    model = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        for i, (conv, bn) in enumerate(convolutions(model)):
            scale = np.float32(np.sqrt(6.0 / (conv.out_channels * conv.kernel_size[0] ** 2)))
            rows = ((conv.weight, scale, 0.0), (bn.weight, 0.25, 1.0), (bn.bias, 0.25, 0.0),
                    (bn.running_mean, 0.25, 0.0), (bn.running_var, 0.5, 1.0))
            for k, (tensor, s, offset) in enumerate(rows):
                tensor.copy_(torch.from_numpy(formula.fill(100 + 10 * i + k, s, offset, tuple(tensor.shape))))
    return model.double()


def taps(model, x, margins=None):
    """Outputs of the three stages; margins collects how close each ReLU and each maximum came to deciding otherwise."""
    def relu(z):
        if margins is not None:
            margins.append(z.abs().min().item())
        return F.relu(z)

    x = relu(model.bn1(model.conv1(x)))
    if margins is not None:
        w = F.unfold(F.pad(x, (1, 1, 1, 1), value=-1.0), 3, stride=2).view(x.shape[0], x.shape[1], 9, -1)
        top = w.topk(2, dim=2).values
        gap = (top[:, :, 0] - top[:, :, 1])[top[:, :, 0] > 0]
        margins.append(gap.min().item())
    x = F.max_pool2d(x, 3, 2, 1)
    out = []
    for stage in STAGES:
        for block in getattr(model, stage):
            y = block.bn2(block.conv2(relu(block.bn1(block.conv1(x)))))
            x = relu(y + (x if block.downsample is None else block.downsample(x)))
        out.append(x)
    return out


def sample(values, count):
    flat = np.asarray(values).reshape(-1)
    return flat[np.arange(count, dtype=np.int64) * 2654435761 % flat.size]


def picture(seed, n, height, width):
    return torch.from_numpy(formula.fill(seed, 2.0, 0.0, (n, 3, height, width)).astype(np.float64))


def features(golden):
    model = network().eval()
    for height, width in ((256, 256), (320, 192), (512, 512)):
        x = picture(1, 8, height, width)
        with torch.no_grad():
            maps = [torch.cat(parts).permute(0, 2, 3, 1).numpy()
                    for parts in zip(*(taps(model, x[i:i + 2]) for i in range(0, 8, 2)))]
        for stage, m in zip(STAGES, maps):
            for n in (1, 8):
                name = f"features.{height}x{width}.{n}.{stage}"
                golden[name] = np.concatenate(([np.abs(m[:n]).max(), np.sqrt((m[:n] ** 2).mean())],
                                               sample(m[:n], FEATURE_SAMPLES)))


def gradients(golden, n, height, width):
    seeds = []
    for seed in range(1000, 1024):
        margins = []
        with torch.no_grad():
            taps(network().train(), picture(seed, n, height, width), margins)
        seeds.append((min(margins), seed))
    margin, seed = max(seeds)
    print(f"{n} x {height} x {width}: seed {seed}, closest decision {margin:.2e}")
    model = network().train()
    maps = taps(model, picture(seed, n, height, width))
    loss = 0.0
    for k, m in enumerate(maps):
        shape = (n, m.shape[2], m.shape[3], m.shape[1])
        loss = loss + (m.permute(0, 2, 3, 1) * torch.from_numpy(formula.fill(50 + k, 1.0, 0.0, shape).astype(np.float64))).sum()
    loss.backward()
    case = f"gradient.{n}x{height}x{width}"
    golden[case + ".seed_and_loss"] = [seed, loss.item()]
    for i, (conv, bn) in enumerate(convolutions(model)):
        for name, g in (("weight", conv.weight.grad), ("gamma", bn.weight.grad), ("beta", bn.bias.grad)):
            g = g.numpy()
            count = min(g.size, GRADIENT_SAMPLES)
            golden[f"{case}.{i}.{name}"] = np.concatenate(([np.sqrt((g ** 2).sum())], sample(g, count)))
        golden[f"{case}.{i}.mean"] = sample(bn.running_mean.numpy(), 16)
        golden[f"{case}.{i}.variance"] = sample(bn.running_var.numpy(), 16)


def main():
    golden = {}
    features(golden)
    gradients(golden, 2, 64, 64)
    gradients(golden, 3, 64, 96)
    golden_file.save(os.path.join(HERE, "net.bin"), golden)


if __name__ == "__main__":
    main()
