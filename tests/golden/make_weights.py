#!/usr/bin/python3
"""Writes tests/golden/weights/: small files as PyTorch and the safetensors package make them, and what they hold.

Run with Debian's python3-torch and python3-torchvision for the .pth files; the .safetensors file needs a Python with
the package `safetensors` (and numpy). Each half is left alone where its packages are missing.
"""
import collections
import os
import sys
import zipfile

import numpy as np

import formula
import golden_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")


class Evil:
    """What a hostile file does: unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ("true",)


def make_safetensors(numpy_module):
    tensors = {
        "conv.weight": formula.fill(1, 1, 0, (2, 3, 1, 2)),
        "conv.bias": formula.fill(2, 1, 0, (2,)).astype(np.float16),
        "steps": np.array(7, dtype=np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "bytes": np.arange(5, dtype=np.uint8),
    }
    numpy_module.save_file(tensors, os.path.join(HERE, "reference.safetensors"),
                           metadata={"format": "np", "text": "grün \"quoted\""})


def state_dict(torch):
    t = lambda seed, shape: torch.from_numpy(formula.fill(seed, 1, 0, shape))
    block = t(10, (4, 6))
    d = collections.OrderedDict()
    d["f32"] = t(3, (2, 3))
    d["half"] = t(4, (4,)).half()
    d["bf16"] = t(5, (3, 2)).bfloat16()
    d["double"] = t(6, (2, 2)).double() * 3
    d["long"] = torch.tensor(-5)
    d["int"] = torch.tensor([1, -2], dtype=torch.int32)
    d["char"] = torch.tensor([1, -2, 3], dtype=torch.int8)
    d["byte"] = torch.tensor([200, 0], dtype=torch.uint8)
    d["transposed"] = t(7, (3, 4)).t()
    d["slice"] = block[1:3, 2:5]
    d["whole"] = block
    d["channels_last"] = t(8, (2, 3, 2, 2)).contiguous(memory_format=torch.channels_last)
    d["parameter"] = torch.nn.Parameter(t(9, (5,)))
    d["empty"] = torch.zeros(0, 3)
    d._metadata = collections.OrderedDict({"": {"version": 1}, "bn": {"version": 2}})
    return d


def deflate(source, target):
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as b:
        for name in a.namelist():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            b.writestr(info, a.read(name))


def make_pth(torch, torchvision):
    at = lambda name: os.path.join(HERE, name)
    d = state_dict(torch)
    torch.save(d, at("tiny.pth"))
    torch.save(d, at("tiny_protocol4.pth"), pickle_protocol=4)
    torch.save(d, at("tiny_old.pth"), _use_new_zipfile_serialization=False)
    deflate(at("tiny.pth"), at("tiny_deflated.pth"))
    golden_file.save(at("tiny.bin"), {k: v.detach().double().contiguous().numpy() for k, v in d.items()})

    torch.save(torch.nn.Linear(2, 1), at("module.pth"))
    torch.save({"epoch": 3, "state_dict": {"a": torch.zeros(1)}}, at("wrapped.pth"))
    torch.save({"a": torch.zeros(1).expand(1000, 1000)}, at("expanded.pth"))
    torch.save({"a": torch.zeros(1), "b": Evil()}, at("evil.pth"))
    torch.save([torch.zeros(1)], at("list.pth"))
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, at("complex.pth"))
    torch.jit.script(torch.nn.ReLU()).save(at("script.pth"))

    for arch in ("resnet18", "resnet34"):
        with open(at(arch + ".txt"), "w") as f:
            for name, v in getattr(torchvision.models, arch)().state_dict().items():
                if not name.startswith(("layer4.", "fc.")) and not name.endswith("num_batches_tracked"):
                    f.write(f"{name} {' '.join(str(n) for n in v.shape)}\n")


def main():
    os.makedirs(HERE, exist_ok=True)
    try:
        import safetensors.numpy
        make_safetensors(safetensors.numpy)
    except ImportError:
        print("no package safetensors: reference.safetensors is left as it is", file=sys.stderr)
    try:
        import torch
        import torchvision
        make_pth(torch, torchvision)
    except ImportError:
        print("no torch and torchvision: the .pth files are left as they are", file=sys.stderr)


if __name__ == "__main__":
    main()
