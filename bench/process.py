#!/usr/bin/env python3
"""What whole processes of dcam cost: start, time and memory, as the system counts them.

    bench/process.py [--dcam build/dcam] [--runs 9]

- `dcam detect` of one image: seconds from the start of the process to its end with the score printed, and its peak
  resident memory, with one image a batch (the default of a single image).
- `dcam train`, batch 32, no cache: peak resident memory beside the bytes that were planned before the first step
  (`planned_bytes` of the training record).

The data is drawn by `dcam synth`, the teacher is random:1: neither time nor memory depend on what the weights hold.
Needs nothing beyond Python 3.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
GOALS = {"start": 0.5, "detect": 200, "plan": 10}


def run(command):
    """Seconds, peak resident bytes and output of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"failed with status {status}: {' '.join(command)}")
    return seconds, usage.ru_maxrss * 1024, output


def find(value, key):
    """The first value under that key, however deep; records are sometimes text within the text."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = find(item, key)
            if found is not None:
                return found
    return None


def verdict(good):
    return "met" if good else "NOT met"


def measure_detect(dcam, model, image, runs):
    # The files are in the system's cache after the first run: what is measured is the program, not the disk.
    results = [run([dcam, "detect", "-m", model, image]) for _ in range(runs + 1)][1:]
    seconds = statistics.median(r[0] for r in results)
    slowest, memory = max(r[0] for r in results), max(r[1] for r in results) / MIB
    print(f"detect, one image: {seconds:.3f} s from start to score (median of {runs}, slowest {slowest:.3f}), "
          f"goal < {GOALS['start']} s: {verdict(seconds < GOALS['start'])}")
    print(f"detect, one image: {memory:.0f} MiB peak, goal < {GOALS['detect']}: {verdict(memory < GOALS['detect'])}")


def measure_train(dcam, folder, batch):
    data, model = os.path.join(folder, "data"), os.path.join(folder, "model.safetensors")
    # A fifth goes into the validation: 24 a class leave 38 to train on, one full batch and a rest.
    run([dcam, "synth", "-o", data, "--classes", "2", "--train", "24", "--test-good", "1", "--test-defective", "1"])
    seconds, peak, _ = run([dcam, "train", data, "-o", model, "--teacher", "random:1", "--epochs", "1", "--batch",
                            str(batch), "--cache-memory", "0", "--quiet"])
    planned = find(json.loads(run([dcam, "info", "--json", model])[2]), "planned_bytes")
    if planned is None:
        sys.exit("`dcam info --json` shows no planned_bytes")
    apart = 100 * (peak / planned - 1)
    print(f"train, batch {batch}, no cache: {peak / MIB:.0f} MiB peak, {planned / MIB:.0f} MiB planned, "
          f"{apart:+.1f} %, goal within {GOALS['plan']} %: {verdict(abs(apart) <= GOALS['plan'])} ({seconds:.1f} s)")
    return model, os.path.join(data, sorted(os.listdir(data))[0], "test", "good")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcam", default="build/dcam", help="the program (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=9, help="of detect (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="of the training (default: %(default)s)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        model, images = measure_train(options.dcam, folder, options.batch)
        image = os.path.join(images, sorted(os.listdir(images))[0])
        measure_detect(options.dcam, model, image, options.runs)


if __name__ == "__main__":
    main()
