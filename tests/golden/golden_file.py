"""Writes golden files for tests/golden_file.h: per tensor "name count\\n" and then float64 values."""
import numpy as np


def save(path, tensors):
    with open(path, "wb") as f:
        for name, values in tensors.items():
            v = np.ascontiguousarray(np.asarray(values, dtype="<f8")).reshape(-1)
            f.write(f"{name} {v.size}\n".encode())
            f.write(v.tobytes())
