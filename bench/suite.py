#!/usr/bin/env python3
"""The whole benchmark: dcam in every precision it has beside PyTorch, ONNX Runtime and OpenVINO, and how its cost grows.

    bench/suite.py                       measures all slices, writes docs/benchmarks.md and the chart
    bench/suite.py --only network-1      measures one slice and adds it to the data
    bench/suite.py --resume              goes on where a run of this commit was ended
    bench/suite.py --quick               every slice, a few turns only: shows that all works, its figures are rough
    bench/suite.py --write               writes the documents from the data that is there

After each slice the data is saved and the documents are written anew. What cannot be measured is listed with its reason,
and the rest goes on.

Contestants take turns (A, B, C, A, B, C, ...), each a process of its own with all threads; ratios are medians of the turns.
The others compute the graph that `dcam export` wrote, of the same normalised images, PyTorch the same network; dcam's
programs are net_bench (the same networks, of drawn noise) and the tool itself. The other run times come from PyPI, into a
virtual environment that is made at the first run (--venv), or from an existing Python (--python).
"""
import argparse
import glob
import json
import os
import statistics
import struct
import subprocess
import sys
import time
import traceback

from compare import KIND_NAMES, Program, processor
from report import write_report

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ["torch", "torchvision", "onnx", "onnxruntime", "openvino", "nncf", "pillow", "numpy"]
MIB = 1 << 20
CLASSES = 8

NETWORK_KINDS = ["eager", "frozen", "compile", "bf16-last", "onnxruntime", "onnxruntime-int8", "openvino", "openvino-bf16",
                 "openvino-int8"]
WORK_KINDS = ["frozen", "bf16-last", "onnxruntime", "openvino", "openvino-bf16", "openvino-int8"]
TRAIN_KINDS = ["train-plain", "train-last", "train-bf16"]


def run(command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **more).stdout


# ---- what is measured on ----

def make_python(options):
    if options.python:
        return options.python
    python, whole = os.path.join(options.venv, "bin", "python"), os.path.join(options.venv, "dcam-bench-is-whole")
    if not os.path.exists(whole):  # python is there before the packages are
        print(f"making {options.venv} with {', '.join(PACKAGES)} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", options.venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        with open(whole, "w", encoding="ascii"):
            pass
    return python


def edit_model(source, target, change):
    """A model file with other metadata and without the tensors that change names."""
    with open(source, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__")
    metadata.pop("sha256", None)  # the sums of what is changed here
    dropped = change(metadata)
    kept = sorted((entry["data_offsets"][0], name, entry) for name, entry in header.items() if name not in dropped)
    parts, at, written = [], 0, {"__metadata__": metadata}
    for _, name, entry in kept:
        begin, end = entry["data_offsets"]
        parts.append(data[begin:end])
        written[name] = {**entry, "data_offsets": [at, at + end - begin]}
        at += end - begin
    text = json.dumps(written, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def with_size(side):
    def change(metadata):
        preprocessing = json.loads(metadata["preprocessing"])
        preprocessing["width"] = preprocessing["height"] = side
        metadata["preprocessing"] = json.dumps(preprocessing)
        return ()
    return change


def with_classes(count):
    def change(metadata):
        for key in ("classes", "calibration"):
            metadata[key] = json.dumps(json.loads(metadata[key])[:count])
        return {f"calibration.{i}.{what}" for i in range(count, CLASSES) for what in ("scores", "centre")}
    return change


PREPARE_IMAGES = """
import glob, json, sys, numpy
from PIL import Image
folder, out, jpegs = sys.argv[1:]
paths = sorted(glob.glob(folder + "/*/test/good/*.png"))
images = [Image.open(p).convert("RGB") for p in paths]
for path, image in zip(paths, images):
    image.save(jpegs + "/" + path.replace("/", "_")[-60:-4] + ".jpg", quality=90)
x = numpy.stack([numpy.asarray(i.resize((256, 256), Image.BILINEAR)) for i in images]).astype("float32") / 255
x = (x - numpy.float32([0.485, 0.456, 0.406])) / numpy.float32([0.229, 0.224, 0.225])
numpy.save(out, numpy.ascontiguousarray(x.transpose(0, 3, 1, 2)))
"""


class Setup:
    """Data, models and graph, drawn and trained once below the build folder."""

    def __init__(self, options, python):
        folder = os.path.join(options.build, "bench")
        os.makedirs(folder, exist_ok=True)
        self.dcam, self.folder = os.path.join(options.build, "dcam"), folder
        self.model, self.onnx = os.path.join(folder, "model8.safetensors"), os.path.join(folder, "detector.onnx")
        self.photos, self.images = os.path.join(folder, "photos"), os.path.join(folder, "images.npy")
        self.jpegs = os.path.join(folder, "jpegs")
        if not os.path.exists(self.model):
            data = self.drawn("data8", "--train", "4", "--test-good", "1", "--test-defective", "1")
            run([self.dcam, "train", data, "-o", self.model, "--teacher", "random:1", "--method", "dcam", "--epochs", "1", "--batch", "8",
                 "--quiet"])
        if not os.path.exists(self.images):
            self.drawn("photos", "--size", "1024", "--train", "1", "--test-good", "4", "--test-defective", "1")
            os.makedirs(self.jpegs, exist_ok=True)
            run([python, "-c", PREPARE_IMAGES, self.photos, self.images, self.jpegs])
        run([self.dcam, "export", "-m", self.model, "--to", "onnx", "-o", self.onnx])

    def drawn(self, name, *options):
        """A folder of synthetic data, which `dcam synth` gives its name once it is whole."""
        folder = os.path.join(self.folder, name)
        if not os.path.exists(folder):
            run([self.dcam, "synth", "-o", folder, "--classes", str(CLASSES), *options])
        return folder

    def pngs(self):
        return sorted(glob.glob(self.photos + "/*/test/good/*.png"))

    def variant(self, name, change):
        path = os.path.join(self.folder, name + ".safetensors")
        edit_model(self.model, path, change)
        return path


# ---- turns ----

def precisions_of(program, command):
    """What net_bench says it can do: "network f32|bf16 BATCH REPEATS"."""
    for line in program.ask("help")["commands"]:
        words = line.split()
        if words[0] == command:
            return words[1].split("|")
    return []


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def processor_seconds(pid):
    """Of all threads of a process, as the scheduler counts them."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def take_turns(contestants, rounds):
    """contestants: (name, program, line). Milliseconds of each, interleaved, and processor time a run; those that cannot
    are named with the reason."""
    results, ready = [], []

    def ask(name, program, line):
        answer = program.ask(line)
        if "error" in answer:
            print(f"  {name}: {answer['error']}", file=sys.stderr, flush=True)
            results.append({"name": name, "error": answer["error"]})
        return answer.get("milliseconds")

    for name, program, line in contestants:
        if ask(name, program, line):  # prepares; not counted
            ready.append((name, program, line, [], [], []))
    for _ in range(rounds):
        for contestant in list(ready):
            name, program, line, medians, times, processor_times = contestant
            before = processor_seconds(program.process.pid)
            milliseconds = ask(name, program, line)
            if not milliseconds:
                ready.remove(contestant)
                continue
            processor_times.append(1e3 * (processor_seconds(program.process.pid) - before) / len(milliseconds))
            medians.append(statistics.median(milliseconds))
            times.extend(milliseconds)
    for name, _, _, medians, times, processor_times in ready:
        results.append({"name": name, "turns": medians, "processor": processor_times, "p50": percentile(times, 0.5), "p95": percentile(times, 0.95),
                        "p99": percentile(times, 0.99), "runs": len(times)})
    return results


class Bench:
    def __init__(self, options):
        self.options, self.python = options, make_python(options)
        self.setup = Setup(options, self.python)
        self.programs, self.threads = {}, None
        self.restart(options.threads)

    def own(self, precision="f32"):
        """One a precision, so that each keeps what it has prepared."""
        name = "dcam " + precision
        if name not in self.programs or not self.programs[name].alive():
            self.programs[name] = Program(name, [os.path.join(self.options.build, "net_bench")], self.environment)
        return self.programs[name]

    def worker(self, kind):
        """A process a kind, kept: importing takes longer than measuring."""
        if kind not in self.programs or not self.programs[kind].alive():
            self.programs[kind] = Program(kind, [self.python, os.path.join(HERE, "compare.py"), "--worker", "--threads",
                                                 str(self.threads), "--onnx", self.setup.onnx, "--images",
                                                 self.setup.images], self.environment)
        return self.programs[kind]

    def close(self):
        for program in self.programs.values():
            program.close()
        self.programs = {}

    def restart(self, threads):
        """Contestants of so many threads. Whole processes and the growth have those of the options."""
        if self.threads == threads:
            return
        self.close()
        self.threads = threads
        self.environment = {"OMP_NUM_THREADS": str(threads), "DCAM_BENCH_THREADS": str(threads)}

    def facts(self):
        own, worker = self.own(), self.worker(NETWORK_KINDS[0])
        facts = own.ask("info")
        return {"processor": processor(), "cores": os.cpu_count(), "threads": self.options.threads,
                "compute": facts["compute"], "versions": worker.ask("info").get("versions", {}),
                "date": time.strftime("%Y-%m-%d")}

    def repeats(self, count):
        """Runs a turn."""
        return min(count, 2) if self.options.quick else count

    def side_by_side(self, command, kinds, batch, repeats, threads=None):
        self.restart(threads or self.options.threads)
        repeats = self.repeats(repeats)
        contestants = [(f"dcam {precision}", self.own(precision), f"{command} {precision} {batch} {repeats}")
                       for precision in precisions_of(self.own(), command)]
        for kind in kinds:
            self.worker(kind)  # all start together
        contestants += [(KIND_NAMES[kind], self.worker(kind), f"{kind} {batch} {repeats}") for kind in kinds]
        before = os.getloadavg()[0]
        results = take_turns(contestants, 2 if self.options.quick else self.options.rounds)
        return {"results": results, "load": [before, os.getloadavg()[0]], "batch": batch}

    def network_1(self):
        return self.side_by_side("network", NETWORK_KINDS, 1, 10)

    def network_8(self):
        return self.side_by_side("network", NETWORK_KINDS, 8, 5)

    def work_1(self):
        return self.side_by_side("network", WORK_KINDS, 1, 4, threads=1)

    def work_8(self):
        return self.side_by_side("network", WORK_KINDS, 8, 1, threads=1)

    def train_32(self):
        return self.side_by_side("train", TRAIN_KINDS, 32, 1)

    # ---- whole processes ----

    def detect(self, images, *more, model=None):
        """Seconds and peak resident bytes of one `dcam detect`."""
        start = time.perf_counter()
        process = subprocess.Popen([self.setup.dcam, "detect", *images, "-m", model or self.setup.model, "--quiet",
                                    "--threads", str(self.options.threads), *more], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        return time.perf_counter() - start, usage.ru_maxrss * 1024, status

    def per_image(self, images, *more, model=None):
        """Images a second beyond the start of the process, or None where it fails."""
        runs = 1 if self.options.quick else 3
        one = statistics.median(self.detect(images[:1], *more, model=model)[0] for _ in range(runs))
        rates = []
        for _ in range(runs):
            seconds, peak, status = self.detect(images, *more, model=model)
            if status != 0:
                return None
            rates.append((len(images) - 1) / max(seconds - one, 1e-6))
        return {"per_second": statistics.median(rates), "peak": peak / MIB}

    def files(self):
        jpegs, pngs = sorted(glob.glob(self.setup.jpegs + "/*")), self.setup.pngs()
        overlays = os.path.join(self.setup.folder, "overlays")
        rows = []
        for precision in precisions_of(self.own(), "network"):
            for name, images, more in (("JPEG", jpegs, ()), ("PNG", pngs, ()), ("JPEG, overlays", jpegs, ("-o", overlays))):
                result = self.per_image(images, "--precision", precision, *more)
                if result:
                    rows.append({"precision": precision, "what": name, **result})
        start = []
        for precision in precisions_of(self.own(), "network"):
            runs = [self.detect(pngs[:1], "--precision", precision) for _ in range(7)]
            if runs[0][2] == 0:
                start.append({"precision": precision, "seconds": statistics.median(r[0] for r in runs),
                              "peak": max(r[1] for r in runs) / MIB})
        return {"folder": rows, "start": start, "load": [os.getloadavg()[0]] * 2}

    # ---- growth ----

    def bench(self, model, precision, batch, threads):
        try:
            text = run([self.setup.dcam, "bench", "-m", model, "--precision", precision, "--batch", str(batch), "--threads",
                        str(threads), "--seconds", "0.2" if self.options.quick else "0.7", "--json"])
        except subprocess.CalledProcessError as error:
            print(f"  {precision}, batch {batch}, {threads} threads: status {error.returncode}", file=sys.stderr)
            return None
        for result in json.loads(text)["results"]:
            if result["stage"] == "network":
                return result["ms_per_image"]["p50"]
        return None

    def growth(self):
        threads, found = self.options.threads, {}
        for precision in ("f32", "bf16"):
            table = {}
            for side in (256, 512, 1024):
                model = self.setup.variant(f"size{side}", with_size(side))
                table[f"size {side}"] = self.bench(model, precision, 1, threads)
            for batch in (1, 2, 4, 8, 16, 32):
                table[f"batch {batch}"] = self.bench(self.setup.model, precision, batch, threads)
            for count in range(1, threads + 1):
                table[f"threads {count}"] = self.bench(self.setup.model, precision, 1, count)
            for classes in (1, 2, 4, 8):
                model = self.setup.variant(f"classes{classes}", with_classes(classes))
                table[f"classes {classes}"] = self.bench(model, precision, 1, threads)
            found[precision] = table
        return {"network": found, "load": [os.getloadavg()[0]] * 2}

    def memory(self):
        """Many small images through a model of 64 x 64, so that 10,000 take seconds."""
        model = self.setup.variant("size64", with_size(64))
        folder, source = os.path.join(self.setup.folder, "many"), os.path.join(self.setup.folder, "data8")
        small = sorted(glob.glob(source + "/*/train/good/*.png"))
        os.makedirs(folder, exist_ok=True)
        rows, there = [], 0
        for count in (100, 1000) if self.options.quick else (100, 1000, 10000):
            for i in range(there, count):
                target = os.path.join(folder, f"{i:05d}.png")
                if not os.path.exists(target):
                    os.link(small[i % len(small)], target)
            for extra in glob.glob(folder + "/*.png"):
                if int(os.path.basename(extra)[:5]) >= count:
                    os.remove(extra)
            there = count
            seconds, peak, status = self.detect([folder], model=model)
            if status != 0:
                raise RuntimeError(f"dcam detect of {count} images ended with wait status {status}")
            rows.append({"images": count, "seconds": seconds, "peak": peak / MIB, "status": status})
        return {"rows": rows, "load": [os.getloadavg()[0]] * 2}


SLICES = {"network-1": Bench.network_1, "network-8": Bench.network_8, "train-32": Bench.train_32, "files": Bench.files,
          "growth": Bench.growth, "memory": Bench.memory, "work-1": Bench.work_1, "work-8": Bench.work_8}


def commit():
    """Of what is measured; with a mark where the tree holds more than that."""
    try:
        return run(["git", "-C", HERE, "describe", "--always", "--abbrev=7", "--dirty=, changed", "--exclude=*"]).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure(options, data):
    """Slice by slice; what is there is saved after each, so that nothing is lost when the rest cannot be measured."""
    names, here, everything = options.only.split(","), commit(), set(options.only.split(",")) == set(SLICES)
    if options.resume:
        names = [name for name in names if data.get(name, {}).get("commit") != here or "error" in data[name]]
    bench = Bench(options)
    data["facts"] = bench.facts()
    for name in names:
        print(f"{time.strftime('%H:%M:%S')} measuring {name}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            data[name] = SLICES[name](bench)
        except Exception as error:  # the other slices go on
            traceback.print_exc()
            data[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        data[name].update(commit=here, quick=options.quick, seconds=time.perf_counter() - start)
        with open(options.data + ".new", "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        os.replace(options.data + ".new", options.data)
        if everything:
            write_report(data, options.docs)
    bench.close()


def main():
    root = os.path.dirname(HERE)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(root, "build"), help="build folder with dcam and net_bench")
    parser.add_argument("--venv", default=os.path.expanduser("~/.cache/dcam-bench-venv"),
                        help="made at the first run (default: %(default)s)")
    parser.add_argument("--python", help="an existing Python with the packages instead: " + ", ".join(PACKAGES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every contestant")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant (default: %(default)s)")
    parser.add_argument("--only", default=",".join(SLICES), metavar="NAMES", help="slices: " + ", ".join(SLICES))
    parser.add_argument("--data", help="results as JSON (default: BUILD/bench/results.json)")
    parser.add_argument("--docs", default=os.path.join(root, "docs"), help="where benchmarks.md and images/ are written")
    parser.add_argument("--quick", action="store_true", help="two turns and short runs; writes to BUILD/bench/quick")
    parser.add_argument("--resume", action="store_true", help="leaves out what was measured of this commit")
    parser.add_argument("--write", action="store_true", help="measures nothing, writes the documents")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)  # workers may change their folder
    unknown = set(options.only.split(",")) - set(SLICES)
    if unknown:
        parser.error(f"no slice {', '.join(sorted(unknown))}; there are {', '.join(SLICES)}")
    if options.quick:  # rough figures stay out of the documents
        options.docs = os.path.join(options.build, "bench", "quick")
        options.data = options.data or os.path.join(options.docs, "results.json")
        os.makedirs(options.docs, exist_ok=True)
    options.data = options.data or os.path.join(options.build, "bench", "results.json")
    data = {}
    if os.path.exists(options.data):
        with open(options.data, encoding="utf-8") as file:
            data = json.load(file)
    if not options.write:
        measure(options, data)
    if options.write or set(options.only.split(",")) == set(SLICES):
        print(write_report(data, options.docs))


if __name__ == "__main__":
    main()
