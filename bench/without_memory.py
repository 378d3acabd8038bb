#!/usr/bin/env python3
"""A model of method hybrid without its memory: what the same student finds alone (bench/study).

    bench/without_memory.py MODEL OUT

Only the file is changed: the memory's tensors and the metadata that names them go. The thresholds in it are those of the
sum and mean nothing any more: run `dcam calibrate` on OUT.
"""
import json
import struct
import sys


def main(source, target):
    with open(source, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        data = f.read()
    meta = header.pop("__metadata__")
    if "memory" not in meta:
        sys.exit(f"{source}: has no memory")
    del meta["memory"]
    meta["format_version"] = "1"
    classes = json.loads(meta["calibration"])
    for c in classes:
        del c["memory_mean"], c["memory_deviation"]
    meta["calibration"] = json.dumps(classes, separators=(",", ":"))
    meta.pop("sha256", None)  # calibrate writes it anew
    kept, pieces, at = {}, [], 0
    for name, tensor in header.items():
        if name.startswith("memory."):
            continue
        begin, end = tensor["data_offsets"]
        pieces.append(data[begin:end])
        kept[name] = tensor | {"data_offsets": [at, at + end - begin]}
        at += end - begin
    text = json.dumps({"__metadata__": meta} | kept, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(pieces))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
