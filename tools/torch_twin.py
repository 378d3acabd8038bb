#!/usr/bin/env python3
"""The PyTorch twin of dcam: the same method, written a second time, as an independent oracle.

What it does: trains one student on the normal images of an MVTec-layout data set and prints every metric per
class and their mean, for several ways of scoring the same student (stage maps combined by sum, product or
standardised; smoothed or not; attention block kept or dropped). The mathematics is that of the docs and of
arXiv 2405.06467. Training runs in float32.

What it must not do: it is never needed by the build or by the tests, and shares no code with the C library:
the point is that two independent programs reach the same figures (seeds differ, so: within a point or so).

Needs torch (1.13 or newer), torchvision, numpy, scipy and Pillow. Debian 12:
    apt install python3-torch python3-torchvision python3-scipy python3-pil
    /usr/bin/python3 tools/torch_twin.py --data DATASET --teacher resnet18-imagenet.safetensors --method dcam
"""
import argparse
import copy
import csv
import json
import math
import os
import sys
import time

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import nn

from twin_metrics import METRICS, class_metrics, mean_metrics

STAGES = ("layer1", "layer2", "layer3")
CHANNELS = (64, 128, 256)
EPSILON = 1e-6  # of the cosine, added to the product of the two lengths
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".pnm", ".ppm", ".pgm")
PRESETS = {
    "dcam": {"loss": "cd=1,kd=1", "attention": "channel", "lr": 0.1, "map": "sum"},
    "stfpm": {"loss": "l2=1", "attention": "none", "lr": 0.4, "map": "product"},
}


# ---- weights and networks ----

def read_safetensors(path):
    """Name -> float32 tensor. 8-byte header length, JSON header, raw little-endian data."""
    with open(path, "rb") as file:
        blob = file.read()
    length = int.from_bytes(blob[:8], "little")
    tensors = {}
    for name, entry in json.loads(blob[8:8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            data = np.frombuffer(blob, "<f4", (end - start) // 4, 8 + length + start)
        elif entry["dtype"] == "BF16":  # the upper half of an f32
            half = np.frombuffer(blob, "<u2", (end - start) // 2, 8 + length + start)
            data = (half.astype("<u4") << 16).view("<f4")
        else:
            sys.exit(f"{path}: tensor {name} is {entry['dtype']}, only F32 and BF16 are read")
        tensors[name] = torch.from_numpy(data.reshape(entry["shape"]).copy())
    return tensors


class Teacher:
    """ResNet-18 to layer3 with batch norm already folded into convolution weight and bias; frozen."""

    def __init__(self, path, layout):
        self.weights = {name: w.contiguous(memory_format=layout) if w.dim() == 4 else w
                        for name, w in read_safetensors(path).items()}

    def conv(self, x, name, stride, padding):
        return F.conv2d(x, self.weights[name + ".weight"], self.weights[name + ".bias"], stride, padding)

    def __call__(self, x):
        with torch.no_grad():
            x = F.max_pool2d(F.relu(self.conv(x, "conv1", 2, 3)), 3, 2, 1)
            taps = []
            for stage in STAGES:
                for block in range(2):
                    name = f"{stage}.{block}"
                    stride = 2 if block == 0 and stage != "layer1" else 1
                    y = self.conv(F.relu(self.conv(x, name + ".conv1", stride, 1)), name + ".conv2", 1, 1)
                    if stride == 2:
                        x = self.conv(x, name + ".downsample.0", 2, 0)
                    x = F.relu(x + y)
                taps.append(x)
            return taps


class ChannelAttention(nn.Module):
    """w = sigmoid(W2 relu(W1 mean) + W2 relu(W1 max)), over positions; A(s) = s * w."""

    def __init__(self, channels):
        super().__init__()
        self.w1 = nn.Linear(channels, channels // 8, bias=False)
        self.w2 = nn.Linear(channels // 8, channels, bias=False)

    def forward(self, s):
        a = self.w2(F.relu(self.w1(s.mean((2, 3)))))
        m = self.w2(F.relu(self.w1(s.amax((2, 3)))))
        return s * torch.sigmoid(a + m)[:, :, None, None]


class SpatialAttention(nn.Module):
    """w = sigmoid(conv7x7(mean over channels, max over channels)); A(s) = s * w."""

    def __init__(self, _channels):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, s):
        u = torch.cat([s.mean(1, keepdim=True), s.amax(1, keepdim=True)], 1)
        return s * torch.sigmoid(self.conv(u))


def make_attention(kind):
    if kind == "none":
        return None
    parts = {"channel": [ChannelAttention], "spatial": [SpatialAttention],
             "cbam": [ChannelAttention, SpatialAttention]}[kind]
    return nn.ModuleList(nn.Sequential(*[part(c) for part in parts]) for c in CHANNELS)


class Student(nn.Module):
    """torchvision's randomly started ResNet-18 to layer3. The attention blocks hang off the trunk: the next stage
    reads the raw map, so that dropping a block changes nothing else."""

    def __init__(self, attention):
        super().__init__()
        net = torchvision.models.resnet18(weights=None)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList(getattr(net, stage) for stage in STAGES)
        self.attention = make_attention(attention)

    def forward(self, x):
        x = self.stem(x)
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return taps

    def attend(self, taps):
        return taps if self.attention is None else [block(s) for block, s in zip(self.attention, taps)]


# ---- losses: each of one stage; t, s: B x C x H x W ----

def cosine_map(t, s):
    """1 - cosine over channels, B x H x W: the loss cd before its mean, and the anomaly map."""
    lengths = t.norm(dim=1) * s.norm(dim=1)  # norm, not sqrt of a sum: its gradient at 0 is 0, not NaN
    return 1 - (t * s).sum(1) / (lengths + EPSILON)


def loss_cd(t, s, _options):
    return cosine_map(t, s).mean()


def loss_cds(t, s, _options):
    t, s = t.flatten(2), s.flatten(2)
    lengths = t.norm(dim=2) * s.norm(dim=2)
    return (1 - (t * s).sum(2) / (lengths + EPSILON)).mean()


def loss_kd(t, s, options):
    p = F.log_softmax(t.flatten(2) / options.kd_temperature, 2)
    q = F.log_softmax(s.flatten(2) / options.kd_temperature, 2)
    divergence = (p.exp() * (p - q)).sum(2)  # B x C
    if options.kd_scale == "sum":
        return divergence.sum(1).mean()
    return options.kd_temperature ** 2 * divergence.mean()


def loss_affinity(t, s, _options):
    """A = F^T F is N x N and large; its distances need only C x C products, since for matrices
    |S^T S - T^T T|^2 = |S S^T|^2 + |T T^T|^2 - 2 |S T^T|^2. In double, as these terms nearly cancel."""
    t, s = F.normalize(t.flatten(2).double(), dim=2), F.normalize(s.flatten(2).double(), dim=2)

    def product(a, b):
        return torch.bmm(a, b.transpose(1, 2)).pow(2).sum((1, 2))

    squared = product(s, s) + product(t, t) - 2 * product(s, t)
    return (squared.clamp(min=1e-20).sqrt() / t.shape[2]).mean().float()


def loss_l2(t, s, _options):
    return 0.5 * (F.normalize(t, dim=1) - F.normalize(s, dim=1)).pow(2).sum(1).mean()


LOSSES = {"cd": loss_cd, "cds": loss_cds, "kd": loss_kd, "affinity": loss_affinity, "l2": loss_l2}


def parse_loss(text):
    weights = {}
    for item in text.split(","):
        name, _, value = item.partition("=")
        if name not in LOSSES:
            sys.exit(f"unknown loss {name!r}; there are {', '.join(LOSSES)}")
        weights[name] = float(value or 1)
    return weights


def total_loss(teacher, student, options):
    return sum(weight * LOSSES[name](t, s, options)
               for name, weight in options.loss_weights.items() for t, s in zip(teacher, student))


# ---- data ----

def images_below(folder):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.lower().endswith(EXTENSIONS)]


def find_mask(root, defect, image):
    stem = os.path.splitext(os.path.basename(image))[0]
    for name in (stem + "_mask.png", stem + ".png"):
        path = os.path.join(root, "ground_truth", defect, name)
        if os.path.exists(path):
            return path
    return None


def load_image(path, size):
    """uint8 3 x H x W, by Pillow's antialiased bilinear filter."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.BILINEAR))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def load_mask(path, size):
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(size, Image.NEAREST)) > 0


class ClassData:
    """One class: normal training images, test images with label and mask."""

    def __init__(self, root, name, size):
        folder = os.path.join(root, name)
        self.name = name
        self.normal = torch.stack([load_image(p, size) for p in images_below(os.path.join(folder, "train", "good"))])
        images, self.labels, self.masks, unmasked = [], [], [], 0
        test = os.path.join(folder, "test")
        for defect in sorted(os.listdir(test)):
            for path in images_below(os.path.join(test, defect)):
                mask = find_mask(folder, defect, path) if defect != "good" else None
                unmasked += defect != "good" and mask is None
                images.append(load_image(path, size))
                self.labels.append(defect != "good")
                self.masks.append(load_mask(mask, size) if mask else np.zeros(size[::-1], bool))
        self.test = torch.stack(images)
        self.labels, self.masks = np.array(self.labels), np.stack(self.masks)
        self.has_masks = bool(self.masks.any())
        if self.has_masks and unmasked:
            sys.exit(f"{folder}: {unmasked} defective images have no mask while others have")


def load_classes(options):
    names = options.classes.split(",") if options.classes else sorted(
        name for name in os.listdir(options.data) if os.path.isdir(os.path.join(options.data, name, "train", "good")))
    if not names:
        sys.exit(f"{options.data}: no CLASS/train/good below it")
    return [ClassData(options.data, name, options.image_size) for name in names]


def split(count, seed):
    """80/20, seeded; at least one image in each part. -> train, validation indices."""
    order = np.random.RandomState(seed).permutation(count)
    held = min(max(int(0.2 * count + 0.5), 1), count - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def normalise(pixels, layout=torch.contiguous_format):
    return ((pixels.float() / 255 - MEAN) / DEVIATION).contiguous(memory_format=layout)


# ---- scoring ----

def stage_maps(teacher, student):
    return [cosine_map(t, s).numpy() for t, s in zip(teacher, student)]


def combine(maps, kind, size, statistics=None):
    """Stage maps (B x h x w each) -> B x H x W: bilinear to the first stage's size, combined there, bilinear to the
    image's. standard: each stage minus the mean, over the deviation of the validation part's maps."""
    small = (size[1] // 4, size[0] // 4)
    total = None
    for k, stage in enumerate(maps):
        stage = torch.from_numpy(stage)[:, None]
        if kind.startswith("standard"):
            stage = (stage - statistics[k][0]) / statistics[k][1]
        stage = F.interpolate(stage, small, mode="bilinear", align_corners=False)
        total = stage if total is None else total * stage if kind == "product" else total + stage
    return F.interpolate(total, size[::-1], mode="bilinear", align_corners=False)[:, 0].numpy()


def smooth(maps, sigma):
    if sigma <= 0:
        return maps
    return np.stack([scipy.ndimage.gaussian_filter(m, sigma, mode="reflect", truncate=4.0) for m in maps])


def image_scores(maps, top_percent):
    flat = maps.reshape(len(maps), -1)
    if top_percent <= 0:
        return flat.max(1)
    count = max(1, int(flat.shape[1] * top_percent / 100 + 0.5))
    return np.partition(flat, -count, 1)[:, -count:].mean(1)


def statistics_of(maps):
    return [(float(stage.mean(dtype=np.float64)), float(stage.std(dtype=np.float64))) for stage in maps]


# ---- training ----

def batches(count, size):
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def teacher_maps(teacher, pixels, options):
    """All maps of the teacher, kept: without augmentation they never change. One tensor a stage."""
    kept = None
    for part in batches(len(pixels), options.batch):
        maps = teacher(normalise(pixels[part], options.layout))
        if kept is None:
            kept = [torch.empty((len(pixels),) + m.shape[1:], dtype=options.cache_dtype) for m in maps]
        for store, m in zip(kept, maps):
            store[part] = m.to(options.cache_dtype)
    return kept


def take(kept, index):
    return [store[index].float() for store in kept]


def modes_of(student):
    return ("drop",) if student.attention is None else ("drop", "keep")


def validate(student, pixels, kept, options):
    """Mean of the anomaly map over the validation part, for each mode."""
    student.eval()
    sums = {mode: 0.0 for mode in modes_of(student)}
    with torch.no_grad():
        for part in batches(len(pixels), options.batch):
            taps = student(normalise(pixels[part], options.layout))
            t = take(kept, part)
            for mode in sums:
                maps = stage_maps(t, student.attend(taps) if mode == "keep" else taps)
                sums[mode] += combine(maps, options.map, options.image_size).mean((1, 2)).sum()
    return {mode: float(total / len(pixels)) for mode, total in sums.items()}


def train(student, teacher, classes, options, record):
    """SGD on the training parts of all classes together. -> the best student by validation for each mode, and the
    validation images of each class."""
    parts = [split(len(c.normal), options.seed + i) for i, c in enumerate(classes)]
    pixels = torch.cat([c.normal[p[0]] for c, p in zip(classes, parts)])
    held = torch.cat([c.normal[p[1]] for c, p in zip(classes, parts)])
    started = time.time()
    kept, kept_held = teacher_maps(teacher, pixels, options), teacher_maps(teacher, held, options)
    record["teacher_seconds"] = time.time() - started
    record["train_images"], record["validation_images"] = len(pixels), len(held)

    optimiser = torch.optim.SGD(student.parameters(), options.lr, momentum=0.9, weight_decay=1e-4)
    shuffle = torch.Generator().manual_seed(options.seed)
    steps_an_epoch = math.ceil(len(pixels) / options.batch)
    best, step, started = {}, 0, time.time()
    for epoch in range(1, options.epochs + 1):
        student.train()
        losses, epoch_started = [], time.time()
        order = torch.randperm(len(pixels), generator=shuffle)
        for part in batches(len(pixels), options.batch):
            if options.schedule == "cosine":
                progress = step / (steps_an_epoch * options.epochs)
                optimiser.param_groups[0]["lr"] = options.lr * 0.5 * (1 + math.cos(math.pi * progress))
            index = order[part]
            taps = student(normalise(pixels[index], options.layout))
            loss = total_loss(take(kept, index), student.attend(taps), options)
            if not torch.isfinite(loss):
                sys.exit(f"epoch {epoch}: the loss is {loss.item()}; a lower --lr may mend it")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            step += 1
        step_seconds = (time.time() - epoch_started) / steps_an_epoch
        values = validate(student, held, kept_held, options)
        for mode, value in values.items():
            if mode not in best or value < best[mode][0]:
                best[mode] = (value, epoch, {k: v.clone() for k, v in student.state_dict().items()})
        record["history"].append({"epoch": epoch, "loss": float(np.mean(losses)), "validation": values,
                                  "seconds_a_step": step_seconds})
        left = (time.time() - started) / epoch * (options.epochs - epoch)
        print(f"epoch {epoch}/{options.epochs} loss {np.mean(losses):.5f} validation "
              f"{' '.join(f'{m} {v:.5f}' for m, v in values.items())} {step_seconds:.3f} s a step, {left:.0f} s left",
              file=sys.stderr, flush=True)
    record["train_seconds"] = time.time() - started
    record["best_epoch"] = {mode: found[1] for mode, found in best.items()}
    of_epoch = {}
    for _, epoch, state in best.values():
        if epoch not in of_epoch:
            of_epoch[epoch] = copy.deepcopy(student).eval()
            of_epoch[epoch].load_state_dict(state)
    students = {mode: of_epoch[found[1]] for mode, found in best.items()}
    return students, [c.normal[p[1]] for c, p in zip(classes, parts)]


# ---- evaluation ----

def collect(students, teacher, pixels, options):
    """Stage maps of one class's images for each mode's best student: mode -> list over stages, N x h x w."""
    found = {mode: [] for mode in students}
    with torch.no_grad():
        for part in batches(len(pixels), options.batch):
            x = normalise(pixels[part], options.layout)
            t, taps = teacher(x), {id(student): student(x) for student in students.values()}
            for mode, student in students.items():
                s = taps[id(student)]
                found[mode].append(stage_maps(t, student.attend(s) if mode == "keep" else s))
    return {mode: [np.concatenate(stage) for stage in zip(*rows)] for mode, rows in found.items()}


def evaluate(students, teacher, classes, validation, options):
    """One row for each mode, combination and smoothing."""
    tests = [collect(students, teacher, c.test, options) for c in classes]
    normals = [collect(students, teacher, pixels, options) for pixels in validation]
    rows = []
    for mode in students:
        every = statistics_of([np.concatenate(stage) for stage in zip(*[n[mode] for n in normals])])
        for kind in options.scorings.split(","):
            rows += [{"attention_at_detection": mode, "map": kind, "smoothing": float(sigma), "classes": {}}
                     for sigma in options.smoothing.split(",")]
            for data, test, normal in zip(classes, tests, normals):
                statistics = statistics_of(normal[mode]) if kind == "standard_class" else every
                maps = combine(test[mode], kind, options.image_size, statistics)
                for row in rows:
                    if row["attention_at_detection"] == mode and row["map"] == kind:
                        smoothed = smooth(maps, row["smoothing"])
                        scores = image_scores(smoothed, options.top_percent)
                        row["classes"][data.name] = class_metrics(smoothed, scores, data)
    for row in rows:
        row["mean"] = mean_metrics(row["classes"])
    return rows


# ---- output ----

def title(row):
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items() if name not in ("classes", "mean"))


def print_rows(rows):
    for row in rows:
        print(f"\n{title(row)}")
        print(f"{'class':<14}" + "".join(f"{name:>13}" for name in METRICS))
        for name, values in list(row["classes"].items()) + [("mean", row["mean"])]:
            cells = ("-" if values[m] is None else f"{100 * values[m]:.2f}" for m in METRICS)
            print(f"{name:<14}" + "".join(f"{cell:>13}" for cell in cells))


def write_results(rows, record, options):
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(dict(record, rows=rows), file, indent=1)
            file.write("\n")
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            settings = [name for name in rows[0] if name not in ("classes", "mean")]
            writer.writerow(settings + ["class"] + list(METRICS))
            for row in rows:
                for name, values in list(row["classes"].items()) + [("mean", row["mean"])]:
                    writer.writerow([row[s] for s in settings] + [name] + [values[m] for m in METRICS])


def common_arguments(parser):
    parser.add_argument("--data", required=True, help="data set in MVTec AD layout")
    parser.add_argument("--teacher", required=True, help="ResNet-18 trunk as safetensors, batch norm folded, F32")
    parser.add_argument("--classes", help="a,b: only these (default: all)")
    parser.add_argument("--size", default="256", help="256 or WIDTHxHEIGHT, multiples of 32 (default 256)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--top-percent", type=float, default=0, help="image score: mean of the top p%% (0: maximum)")
    parser.add_argument("--json", help="write everything to this file")
    parser.add_argument("--csv", help="write the table to this file")


def finish_common(options):
    width, _, height = options.size.partition("x")
    options.image_size = (int(width), int(height or width))  # as Pillow: width, height
    if any(side < 32 or side % 32 for side in options.image_size):
        sys.exit(f"--size {options.size}: sides must be multiples of 32")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--method", choices=PRESETS, default="dcam", help="preset of loss, attention, lr and map")
    parser.add_argument("--loss", help="for example cd=1,kd=1; of " + ", ".join(LOSSES))
    parser.add_argument("--attention", choices=("none", "channel", "spatial", "cbam"))
    parser.add_argument("--kd-temperature", type=float, default=1.0)
    parser.add_argument("--kd-scale", choices=("mean", "sum"), default="mean")
    parser.add_argument("--map", choices=("sum", "product"), help="the map whose validation mean chooses the model")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--schedule", choices=("constant", "cosine"), default="constant")
    parser.add_argument("--scorings", default="sum,product,standard,standard_class",
                        help="maps to evaluate; standard_class: standardised with the class's own validation maps")
    parser.add_argument("--smoothing", default="0,4", help="Gaussian sigmas in input pixels to evaluate")
    parser.add_argument("--cache", choices=("f32", "bf16"), default="f32", help="precision of the kept teacher maps")
    parser.add_argument("--channels-last", action="store_true", help="memory layout: faster or slower, by machine; the numbers change by rounding only")
    options = parser.parse_args()
    finish_common(options)
    for name, value in PRESETS[options.method].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.loss_weights = parse_loss(options.loss)
    options.cache_dtype = torch.float32 if options.cache == "f32" else torch.bfloat16
    options.layout = torch.channels_last if options.channels_last else torch.contiguous_format
    return options


def main():
    options = parse_arguments()
    started = time.time()
    record = {"torch": torch.__version__, "threads": torch.get_num_threads(), "history": [],
              "options": {k: v for k, v in vars(options).items() if isinstance(v, (str, int, float, type(None)))}}
    classes = load_classes(options)
    record["load_seconds"] = time.time() - started
    teacher = Teacher(options.teacher, options.layout)
    student = Student(options.attention).to(memory_format=options.layout)
    students, validation = train(student, teacher, classes, options, record)
    evaluation_started = time.time()
    rows = evaluate(students, teacher, classes, validation, options)
    record["evaluate_seconds"] = time.time() - evaluation_started
    record["seconds"] = time.time() - started
    print_rows(rows)
    print(f"\nbest epoch {record['best_epoch']}; teacher's maps {record['teacher_seconds']:.0f} s, training "
          f"{record['train_seconds']:.0f} s, evaluation {record['evaluate_seconds']:.0f} s, all {record['seconds']:.0f} s")
    write_results(rows, record, options)


if __name__ == "__main__":
    main()
