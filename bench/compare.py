#!/usr/bin/env python3
"""How fast dcam is beside PyTorch: both in one run, in turns (A, B, A, B, ...), with the same number of threads and the
same work. Each figure is a ratio of medians a round; the spread over the rounds is printed with it.

    cmake -S . -B build -DDCAM_BENCH=ON && cmake --build build --target net_bench
    /usr/bin/python3 bench/compare.py --net-bench build/net_bench

Needs a Python with torch (Debian 12: apt install python3-torch). --python names others whose torch, onnxruntime or
openvino is measured too; each runs this file with --worker, in a process of its own, and answers the same one-line
commands as net_bench. Nothing here is needed by the build or the tests.
"""
import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata

SIDE = 256
CHANNELS = (64, 128, 256)
EPSILON = 1e-6


# ---- the same work in PyTorch (only a worker imports it) ----

def define_networks(torch):
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = nn.Identity() if stride == 1 else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.downsample(x))

    class Trunk(nn.Module):
        """ResNet-18 to layer3."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64),
                                      nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
            self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
            self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
            self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))

        def forward(self, x):
            a = self.layer1(self.stem(x))
            b = self.layer2(a)
            return a, b, self.layer3(b)

    class Detector(nn.Module):
        """Normalised tensor in, full-size anomaly map and image score out."""

        def __init__(self):
            super().__init__()
            self.teacher, self.student = Trunk(), Trunk()

        def forward(self, x):
            total = torch.zeros(1)
            for k, (t, s) in enumerate(zip(self.teacher(x), self.student(x))):
                lengths = t.norm(dim=1) * s.norm(dim=1)
                d = (1 - (t * s).sum(1) / (lengths + EPSILON)).unsqueeze(1)
                if k == 0:
                    total = d
                else:
                    total = total + functional.interpolate(d, size=[SIDE // 4, SIDE // 4], mode="bilinear",
                                                           align_corners=False)
            full = functional.interpolate(total, size=[SIDE, SIDE], mode="bilinear", align_corners=False)
            return full, full.flatten(1).amax(1)

    class ChannelAttention(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.w1 = nn.Linear(channels, channels // 8, bias=False)
            self.w2 = nn.Linear(channels // 8, channels, bias=False)

        def forward(self, s):
            a = self.w2(functional.relu(self.w1(s.mean((2, 3)))))
            m = self.w2(functional.relu(self.w1(s.amax((2, 3)))))
            return s * torch.sigmoid(a + m)[:, :, None, None]

    class Learner:
        """One step of `dcam train --method dcam`: channel attention, losses cd and kd; teacher's maps given."""

        def __init__(self, batch, layout):
            self.student = Trunk().to(memory_format=layout)
            self.attention = nn.ModuleList(ChannelAttention(c) for c in CHANNELS)
            values = list(self.student.parameters()) + list(self.attention.parameters())
            self.optimiser = torch.optim.SGD(values, lr=1e-3, momentum=0.9, weight_decay=1e-4)
            self.input = torch.rand(batch, 3, SIDE, SIDE).contiguous(memory_format=layout)
            self.maps = [torch.rand(batch, c, SIDE >> k, SIDE >> k).contiguous(memory_format=layout)
                         for k, c in zip((2, 3, 4), CHANNELS)]

        def step(self, bf16=False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()

        def loss(self):
            loss = 0
            for t, s, attend in zip(self.maps, self.student(self.input), self.attention):
                s = attend(s)
                loss = loss + (1 - (t * s).sum(1) / (t.norm(dim=1) * s.norm(dim=1) + EPSILON)).mean()
                p = functional.log_softmax(t.flatten(2), 2)
                q = functional.log_softmax(s.flatten(2), 2)
                loss = loss + (p.exp() * (p - q)).sum(2).mean()
            return loss

    return Detector, Learner


class Worker:
    """Answers commands KIND BATCH REPEATS; what a kind needs is made at its first."""

    def __init__(self, threads, onnx=None, images=None):
        import torch
        self.torch = torch
        self.onnx, self.images = onnx, images
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.threads = threads
        self.detector_class, self.learner_class = define_networks(torch)
        self.made = {}

    def detector(self):
        if "detector" not in self.made:
            self.made["detector"] = self.detector_class().eval()
        return self.made["detector"]

    def make(self, kind, batch):
        torch = self.torch
        if kind.startswith("train"):
            layout = torch.contiguous_format if kind == "train-plain" else torch.channels_last
            learner = self.learner_class(batch, layout)
            return lambda: learner.step(kind == "train-bf16")
        x = self.make_input(batch)
        if kind == "eager":
            return lambda: self.detector()(x)
        if kind == "eager-last":
            x, model = x.contiguous(memory_format=torch.channels_last), self.detector_class().eval()
            model = model.to(memory_format=torch.channels_last)
            return lambda: model(x)
        if kind == "bf16-last":
            x, model = x.contiguous(memory_format=torch.channels_last), self.detector_class().eval()
            model = model.to(memory_format=torch.channels_last)

            def run():
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    return model(x)
            return run
        if kind == "frozen":
            traced = torch.jit.trace(self.detector(), x)
            frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            return lambda: frozen(x)
        if kind == "compile":
            compiled = torch.compile(self.detector())
            return lambda: compiled(x)
        if kind.startswith("onnxruntime"):
            return self.make_onnxruntime(x, kind)
        if kind.startswith("openvino"):
            return self.make_openvino(x, kind)
        raise ValueError("unknown kind " + kind)

    def make_input(self, batch):
        """Normalised images: the given ones in turn, or random values."""
        if not self.images:
            return self.torch.rand(batch, 3, SIDE, SIDE)
        import numpy
        images = numpy.load(self.images)
        return self.torch.from_numpy(images[[i % len(images) for i in range(batch)]])

    def onnx_file(self, x):
        if self.onnx:
            return self.onnx
        path = os.path.join(tempfile.mkdtemp(), "detector.onnx")
        options = {"dynamo": False} if int(self.torch.__version__.split(".")[0]) >= 2 else {}
        self.torch.onnx.export(self.detector(), x, path, opset_version=13, input_names=["input"], **options)
        return path

    def calibration(self):
        """Single images for the quantisers."""
        x = self.make_input(16).numpy()
        return [x[i:i + 1] for i in range(len(x))]

    def quantised_file(self, x):
        """ONNX Runtime's own static quantisation, as bench/serve/measure.py makes it: QDQ, the convolutions alone, unsigned
        activations, a scale a channel, ranges by minimum and maximum."""
        from onnxruntime import quantization

        class Reader(quantization.CalibrationDataReader):
            def __init__(self, images):
                self.images = iter(images)

            def get_next(self):
                image = next(self.images, None)
                return None if image is None else {"input": image}

        folder = tempfile.mkdtemp()
        prepared, path = os.path.join(folder, "prepared.onnx"), os.path.join(folder, "int8.onnx")
        source = os.path.abspath(self.onnx_file(x))
        os.chdir(folder)  # it leaves files where it runs
        quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)  # it knows not all of the graph
        quantization.quantize_static(prepared, path, Reader(self.calibration()), per_channel=True,
                                     activation_type=quantization.QuantType.QUInt8,
                                     weight_type=quantization.QuantType.QInt8, op_types_to_quantize=["Conv"])
        return path

    def make_onnxruntime(self, x, kind):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_free_dimension_override_by_name("batch", len(x))
        path = self.quantised_file(x) if kind.endswith("int8") else self.onnx_file(x)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        array = x.numpy()
        return lambda: session.run(None, {"input": array})

    def make_openvino(self, x, kind):
        import openvino
        core = openvino.Core()
        model = core.read_model(self.onnx_file(x))
        if kind.endswith("int8"):
            import nncf
            images = self.calibration()
            model = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
        model.reshape({model.inputs[0]: list(x.shape)})
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        if not kind.endswith("int8"):  # what is left of that in floating point it computes as it likes best
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if kind.endswith("bf16") else "f32"
        compiled = core.compile_model(model, "CPU", settings)
        request, array = compiled.create_infer_request(), x.numpy()
        return lambda: request.infer({0: array})

    def measure(self, kind, batch, repeats):
        key = kind, batch
        if key not in self.made:
            self.made = {k: v for k, v in self.made.items() if k == "detector"}
            self.made[key] = self.make(kind, batch)
            for _ in range(1 if kind.startswith("train") else 4):  # the first calls compile
                self.run(kind, self.made[key])
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.run(kind, self.made[key])
            times.append(1e3 * (time.perf_counter() - start))
        return times

    def run(self, kind, call):
        if kind.startswith("train"):
            call()
        else:
            with self.torch.no_grad():
                call()


def versions():
    """Of what a worker can measure."""
    found = {}
    for name in ("torch", "onnxruntime", "openvino", "nncf"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def serve(options):
    # Some libraries print; only answers may go to the driver.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(options.threads, options.onnx, options.images)
    for line in sys.stdin:
        try:
            words = line.split()
            if words[0] == "info":
                answer = {"torch": worker.torch.__version__, "threads": worker.torch.get_num_threads(),
                          "versions": versions()}
            else:
                answer = {"milliseconds": worker.measure(words[0], int(words[1]), int(words[2]))}
        except Exception as error:  # an error is an answer too: the other contestants go on
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


# ---- driving ----

class Program:
    """A process that answers one line of JSON a command. One that takes longer than `patience` seconds is ended."""

    def __init__(self, name, command, environment=None, patience=300):
        self.name, self.patience = name, patience
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL)

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            # An answer is one line and nothing follows it unasked, so no part of one waits in a buffer.
            if not select.select([self.process.stdout], [], [], self.patience)[0]:
                self.close()
                return {"error": f"no answer to \"{line}\" within {self.patience} seconds"}
            text = self.process.stdout.readline()
            return json.loads(text) if text else {"error": f"ended with status {self.process.wait()}"}
        except (OSError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def alive(self):
        return self.process.poll() is None

    def close(self):
        self.process.kill()
        self.process.wait()


# What is compared: title, net_bench's command, PyTorch's kinds, batch, runs a round.
COMPARISONS = {
    "network-1": ("network, f32, batch 1", "network f32 1", ("frozen", "eager", "eager-last"), 1, 10),
    "network-8": ("network, f32, batch 8", "network f32 8", ("frozen", "eager", "eager-last"), 8, 3),
    "bf16-1": ("network, bf16, batch 1", "network bf16 1", ("frozen", "bf16-last"), 1, 10),
    "bf16-8": ("network, bf16, batch 8", "network bf16 8", ("frozen", "bf16-last"), 8, 3),
    "train-32": ("training step, f32, batch 32", "train f32 32", ("train-plain", "train-last"), 32, 1),
    "train-bf16-32": ("training step, bf16, batch 32", "train bf16 32", ("train-bf16", "train-last"), 32, 1),
}
KIND_NAMES = {"frozen": "PyTorch frozen TorchScript", "eager": "PyTorch eager",
              "eager-last": "PyTorch eager, channels last", "bf16-last": "PyTorch bf16 autocast, channels last",
              "compile": "PyTorch torch.compile", "train-plain": "PyTorch f32 contiguous",
              "train-last": "PyTorch f32 channels last", "train-bf16": "PyTorch bf16 autocast, channels last",
              "onnxruntime": "ONNX Runtime f32", "onnxruntime-int8": "ONNX Runtime int8",
              "openvino": "OpenVINO f32", "openvino-bf16": "OpenVINO bf16", "openvino-int8": "OpenVINO int8 (NNCF)"}


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


class Failed(Exception):
    """What a contestant says instead of an answer."""


def median_of(worker, line):
    answer = worker.ask(line)
    if "error" in answer:
        raise Failed(answer["error"])
    return statistics.median(answer["milliseconds"])


def compare(comparison, dcam, others, rounds):
    """Rows of (contestant, median milliseconds, ratio quartiles)."""
    title, command, kinds, batch, runs = comparison
    contestants = [(dcam, "dcam", f"{command} {runs}")]
    for other, extra in others:
        for kind in kinds + (extra if not kinds[0].startswith("train") else ()):
            name = f"{other.name}, {KIND_NAMES[kind].replace('PyTorch ', '')}"  # the worker's name says it already
            contestants.append((other, name, f"{kind} {batch} {runs}"))
    rows = []
    # Contestants take turns with dcam one at a time, so that a worker keeps only one prepared network.
    for other, name, line in contestants[1:]:
        try:
            # The first of each prepares, and is not counted.
            turns = [(median_of(dcam, contestants[0][2]), median_of(other, line)) for _ in range(rounds + 1)][1:]
        except Failed as failed:
            rows.append((name, str(failed)))
            continue
        rows.append((name, *map(statistics.median, zip(*turns)), quartiles([mine / theirs for mine, theirs in turns])))
    return title, rows


def print_rows(title, rows, markdown):
    if markdown:
        print(f"\n| {title} | dcam, ms | the other, ms | ratio (quartiles) |\n|---|---|---|---|")
    else:
        print(f"\n{title}\n{'':52} {'dcam ms':>9} {'other ms':>9}  ratio (quartiles)")
    for row in rows:
        if len(row) == 2:
            print(f"| {row[0]} | | | {row[1]} |" if markdown else f"{row[0]:52} {row[1]}")
            continue
        name, mine, theirs, (low, middle, high) = row
        if markdown:
            print(f"| {name} | {mine:.2f} | {theirs:.2f} | **{middle:.2f}** ({low:.2f} - {high:.2f}) |")
        else:
            print(f"{name:52} {mine:9.2f} {theirs:9.2f}  {middle:.2f} ({low:.2f} - {high:.2f})")
    sys.stdout.flush()


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net-bench", default="build/net_bench", help="the program (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both sides")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each pair (default: %(default)s)")
    parser.add_argument("--only", default="network-1,network-8,bf16-1,bf16-8,train-32", metavar="NAMES",
                        help="of " + ", ".join(COMPARISONS))
    parser.add_argument("--python", action="append", default=[], metavar="PYTHON",
                        help="another Python: its torch (compiled too), onnxruntime and openvino take part")
    parser.add_argument("--markdown", action="store_true", help="prints Markdown tables")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--onnx", help=argparse.SUPPRESS)
    parser.add_argument("--images", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return
    environment = {"OMP_NUM_THREADS": str(options.threads), "DCAM_BENCH_THREADS": str(options.threads)}
    dcam = Program("dcam", [options.net_bench], environment)
    others = []
    for k, python in enumerate([sys.executable] + options.python):
        worker = Program("", [python, os.path.abspath(__file__), "--worker", "--threads", str(options.threads)],
                         environment)
        info = worker.ask("info")
        worker.name = f"PyTorch {info.get('torch', '?')}"
        others.append((worker, () if k == 0 else ("compile", "onnxruntime", "openvino")))
    facts = dcam.ask("info")
    print(f"{processor()}, {os.cpu_count()} cores, {options.threads} threads; {facts['compute']}; "
          f"{', '.join(worker.name for worker, _ in others)}; "
          f"{options.rounds} rounds; load before {os.getloadavg()[0]:.1f}")
    for name in options.only.split(","):
        if name.startswith("bf16") and not facts["bf16"]:
            print(f"\n{COMPARISONS[name][0]}: this processor has no bf16 instructions")
            continue
        print_rows(*compare(COMPARISONS[name], dcam, others, options.rounds), options.markdown)
    print(f"\nload after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
