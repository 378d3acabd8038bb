"""Test values that C and numpy compute alike; the twin of tests/formula.h."""
import numpy as np


def value(seed, count):
    """Values 0 .. count-1 of series `seed`: float32, multiples of 2^-23 in [-1, 1)."""
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1)
        h = h + np.uint32((seed * 0x85EBCA77 + 0xC2B2AE3D) & 0xFFFFFFFF)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return ((h >> np.uint32(8)).astype(np.int32) - (1 << 23)).astype(np.float32) * np.float32(2.0 ** -23)


def fill(seed, scale, offset, shape):
    """value * scale + offset, each step rounded to float32."""
    count = int(np.prod(shape))
    return (value(seed, count) * np.float32(scale) + np.float32(offset)).reshape(shape)
