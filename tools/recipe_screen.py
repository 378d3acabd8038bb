#!/usr/bin/env python3
"""Screens recipes: trains many students on one GPU, some at the same time, and scores each in many ways.

What it does: the method of torch_twin.py (whose networks, losses, blocks and split it uses), arranged so that a table
of recipes with several seeds takes minutes. Images and the teacher's maps lie on the device; a training step is one
CUDA graph; several trainings run side by side, each in a stream of its own. Every student is scored with each map,
with and without the memory of normal patches (built anew for each seed from its training part).
Writes one CSV line a recipe, seed and way of scoring. Runs on a processor as well, slowly, to be tried.

Where it differs from the twin, to be quick: forward and backward pass under bf16 autocast unless a recipe says
otherwise; the teacher's maps rounded to bf16 in training; batches go on over the end of an epoch, so that all are
full; with the cosine schedule the last step's student is taken, not the best epoch's; pixel metrics from every
second pixel. No test image takes part in training or in the choice of the epoch.

What it must not do: it is never needed by the build or by the tests. Final figures are dcam's own (bench/study).

Needs what torch_twin.py needs, torch 2.1 or newer:
    python3 tools/recipe_screen.py --data DATASET --teacher resnet18-imagenet.safetensors --out screen.csv
"""
import argparse
import csv
import math
import os
import shlex
import sys
import time
from dataclasses import dataclass, fields
from multiprocessing.pool import ThreadPool

import numpy as np
import torch
import torch.nn.functional as F

from fast_metrics import PixelTruth, check
from screen_scores import Scorer, memory_maps
from torch_twin import DEVIATION, LOSSES, MEAN, STAGES, Student, Teacher, common_arguments, cosine_map, load_classes, parse_loss, split

RECIPES = __file__.replace("recipe_screen.py", "recipes.txt")
EMA_DECAY = 0.995    # of the average over the last steps, also scored ...
AVERAGED_FROM = 40   # ... where the training has this many epochs


@dataclass
class Recipe:
    """One line of recipes.txt: a name, then what differs from the student of the default method."""
    name: str
    loss: str = "cd=2,kd=2"
    temperature: float = 1
    scale: str = "mean"
    attention: str = "none"
    reads: str = "attended"
    lr: float = 0.4
    schedule: str = "cosine"
    epochs: int = 40
    batch: int = 16
    noise: float = 0       # of each stage's output that the next stage reads, in its own deviations
    mined: float = 0       # positions weigh as their distance to this power, in cd and l2
    augment: float = 0     # shifts, turns, scales, light: 1 is at most 8 pixels, 3 degrees, 5 %, 10 %
    precision: str = "bf16"
    one_class: int = 0
    size: int = 256
    seeds: str = "1 2 3"
    save: str = ""         # file: the stage maps of each seed

    @staticmethod
    def parse(line):
        name, *options = shlex.split(line)
        kinds = {f.name: f.type for f in fields(Recipe)}
        values = dict(option.split("=", 1) for option in options)
        for key in values.keys() - kinds.keys():
            sys.exit(f"recipe {name}: {key} is not known")
        return Recipe(name, **{k: kinds[k](v) for k, v in values.items()})


# ---- what all recipes of one input size share ----

class Lab:
    """Images, teacher maps and truth on the device. Rows: first all classes' normal images, then all test images."""

    def __init__(self, options, size):
        self.device, self.size = torch.device(options.device), size
        self.cuda = self.device.type == "cuda"
        options.image_size = (size, size)
        self.classes = load_parallel(options)
        if options.most:
            for c in self.classes:
                keep = np.unique(np.linspace(0, len(c.labels) - 1, options.most).astype(int))
                c.normal, c.test, c.labels, c.masks = c.normal[:options.most], c.test[keep], c.labels[keep], c.masks[keep]
        self.names = [c.name for c in self.classes]
        pixels = torch.cat([c.normal for c in self.classes] + [c.test for c in self.classes])
        self.images = pixels.permute(0, 2, 3, 1).contiguous().to(self.device)
        self.normal_class = np.repeat(np.arange(len(self.classes)), [len(c.normal) for c in self.classes])
        self.test_class = np.repeat(np.arange(len(self.classes)), [len(c.labels) for c in self.classes])
        self.labels = np.concatenate([c.labels for c in self.classes])
        self.normal_count = len(self.normal_class)
        self.test_rows = torch.arange(self.normal_count, len(pixels), device=self.device)
        self.truth = {k: PixelTruth(c.masks, options.pixel_step, self.device)
                      for k, c in enumerate(self.classes) if c.has_masks}
        self.mean, self.deviation = MEAN.to(self.device), DEVIATION.to(self.device)
        self.teacher = Teacher(options.teacher, torch.channels_last)
        self.teacher.weights = {k: v.to(self.device) for k, v in self.teacher.weights.items()}
        exact(True)
        taps = [self.teacher(self.normalise(self.images[part])) for part in torch.arange(len(pixels)).split(64)]
        self.taps = [torch.cat([t[k].permute(0, 2, 3, 1) for t in taps]).contiguous() for k in range(len(STAGES))]
        self.rounded = [t[:self.normal_count].bfloat16() for t in self.taps]  # what the students learn from
        self.seeds = {}
        exact(False)

    def normalise(self, pixels):
        """N x H x W x 3 bytes -> N x 3 x H x W, channels last."""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.deviation

    def of_seed(self, seed):
        """Training rows of each class, validation rows, and the scorer with the memory's maps."""
        if seed not in self.seeds:
            parts = [split(len(c.normal), seed + i) for i, c in enumerate(self.classes)]
            starts = np.cumsum([0] + [len(c.normal) for c in self.classes])
            train = [torch.from_numpy(p[0] + s) for p, s in zip(parts, starts)]
            held = torch.cat([torch.from_numpy(p[1] + s) for p, s in zip(parts, starts)]).to(self.device)
            rows = torch.cat([held, self.test_rows])
            exact(True)
            maps = memory_maps(self.taps, [t.to(self.device) for t in train], held, self.normal_class, self.test_rows,
                               self.test_class, seed)
            exact(False)
            held_class = self.normal_class[held.cpu().numpy()]
            scorer = Scorer(self.names, self.truth, self.labels, self.test_class, held_class, maps, self.size, self.device)
            self.seeds[seed] = (train, held, rows, scorer)
        return self.seeds[seed]


def load_parallel(options):
    """All classes; Pillow lets other threads run while it decodes."""
    names = options.classes.split(",") if options.classes else sorted(
        n for n in os.listdir(options.data) if os.path.isdir(os.path.join(options.data, n, "train", "good")))
    jobs = [argparse.Namespace(data=options.data, classes=n, image_size=options.image_size) for n in names]
    with ThreadPool(len(jobs)) as pool:
        return [c for part in pool.map(load_classes, jobs) for c in part]


def exact(wanted):
    """Full f32 products (teacher, memory) or TF32 ones (students)."""
    torch.backends.cuda.matmul.allow_tf32 = not wanted
    torch.backends.cudnn.allow_tf32 = not wanted


# ---- one training ----

class Training:
    """A student with everything that a step needs at fixed places, so that one captured step serves every seed."""

    def __init__(self, recipe, lab):
        self.recipe, self.lab = recipe, lab
        self.weights = parse_loss(recipe.loss)
        self.student = Student(recipe.attention).to(lab.device, memory_format=torch.channels_last)
        self.params = list(self.student.parameters())
        self.buffers = [b for b in self.student.buffers() if b.is_floating_point()]
        self.state = self.params + self.buffers
        self.momentum = [torch.zeros_like(p) for p in self.params]
        self.average = [torch.zeros_like(v) for v in self.state]
        counts = [len(t) for s in recipe.seeds.split() for t in self.parts(lab.of_seed(int(s))[0])]
        steps = max([8] + [self.steps_of(n) for n in counts])  # 8: the capture takes a few
        self.table = torch.zeros(steps, recipe.batch, dtype=torch.long, device=lab.device)
        self.rates = torch.zeros(steps, device=lab.device)
        self.at = torch.zeros(1, dtype=torch.long, device=lab.device)
        self.loss = torch.zeros((), device=lab.device)
        self.graph = None

    def parts(self, train):
        return train if self.recipe.one_class else [torch.cat(train)]

    def steps_of(self, count):
        return math.ceil(count * self.recipe.epochs / self.recipe.batch)

    def reset(self, seed, rows):
        """A fresh student, and the order of the images and the learning rate of every step. -> number of steps."""
        recipe, generator = self.recipe, torch.Generator().manual_seed(1000 + seed)
        torch.manual_seed(seed)
        with torch.no_grad():
            self.student.load_state_dict(Student(recipe.attention).state_dict())
            torch._foreach_copy_(self.average, self.state)
            torch._foreach_zero_(self.momentum)
        steps = self.steps_of(len(rows))
        order = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in range(recipe.epochs + 1)])
        self.table[:steps] = order[:steps * recipe.batch].view(steps, recipe.batch).to(self.lab.device)
        progress = torch.arange(steps) / steps
        factor = 0.5 * (1 + torch.cos(math.pi * progress)) if recipe.schedule == "cosine" else torch.ones(steps)
        self.rates[:steps] = (recipe.lr * factor).to(self.lab.device)
        self.at.zero_()
        return steps

    def forward(self, x):
        x, taps = self.student.stem(x), []
        for stage in self.student.stages:
            x = stage(x)
            taps.append(x)
            if self.recipe.noise:
                x = x + self.recipe.noise * x.detach().std() * torch.randn_like(x)
        return taps

    def augmented(self, pixels):
        x, n, a = pixels.permute(0, 3, 1, 2).float() / 255, len(pixels), self.recipe.augment
        r = torch.rand(n, 6, device=x.device) * 2 - 1
        angle, scale, shift = r[:, 0] * a * math.radians(3), 1 + 0.05 * a * r[:, 1], r[:, 2:4] * a * 16 / self.lab.size
        c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
        theta = torch.stack([torch.stack([c, -s, shift[:, 0]], 1), torch.stack([s, c, shift[:, 1]], 1)], 1)
        x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="reflection", align_corners=False)
        x = ((x - 0.5) * (1 + 0.1 * a * r[:, 4]).view(n, 1, 1, 1) + 0.5 + 0.05 * a * r[:, 5].view(n, 1, 1, 1)).clamp(0, 1)
        return ((x - self.lab.mean) / self.lab.deviation).contiguous(memory_format=torch.channels_last)

    def autocast(self):
        return torch.autocast(self.lab.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16", cache_enabled=False)

    def step(self):
        recipe, index = self.recipe, self.table.index_select(0, self.at).view(-1)
        pixels = self.lab.images.index_select(0, index)
        if recipe.augment:
            x = self.augmented(pixels)
            with self.autocast():
                t = [m.float() for m in self.lab.teacher(x)]
        else:
            x = self.lab.normalise(pixels)
            t = [m.index_select(0, index).permute(0, 3, 1, 2).float() for m in self.lab.rounded]
        with self.autocast():
            raw = self.forward(x)
        raw = [s.float() for s in raw]
        attended = self.student.attend(raw)
        loss = self.losses(t, attended)
        if recipe.reads == "both" and recipe.attention != "none":
            loss = (loss + self.losses(t, raw)) / 2
        grads = torch.autograd.grad(loss, self.params)
        with torch.no_grad():
            torch._foreach_mul_(self.momentum, 0.9)
            torch._foreach_add_(self.momentum, grads)
            torch._foreach_add_(self.momentum, self.params, alpha=1e-4)
            torch._foreach_sub_(self.params, torch._foreach_mul(self.momentum, self.rates.index_select(0, self.at).squeeze()))
            torch._foreach_lerp_(self.average, self.state, 1 - EMA_DECAY)
            self.loss.copy_(loss)
            self.at += 1

    def losses(self, teacher, student):
        recipe = self.recipe
        named = argparse.Namespace(kd_temperature=recipe.temperature, kd_scale=recipe.scale)
        total = 0
        for name, weight in self.weights.items():
            for t, s in zip(teacher, student):
                if recipe.mined and name in ("cd", "l2"):
                    d = cosine_map(t, s)  # l2 is the same but for the epsilon
                    share = d.detach().clamp(min=1e-6) ** recipe.mined
                    total = total + weight * (share * d).sum() / share.sum()
                else:
                    total = total + weight * LOSSES[name](t, s, named)
        return total

    def capture(self):
        """Steps before the capture let the libraries choose their kernels; what they did is undone by reset."""
        self.student.train()
        for _ in range(3):
            self.step()
        if self.lab.cuda:
            torch.cuda.current_stream().synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.step()

    def run_step(self):
        if self.graph:
            self.graph.replay()
        else:
            self.step()

    def maps(self, rows, mode):
        """Stage maps of these images: a list over stages, N x h x w."""
        self.student.eval()
        found = []
        with torch.no_grad():
            for part in rows.split(128):
                with self.autocast():
                    taps = self.student(self.lab.normalise(self.lab.images[part]))
                taps = [s.float() for s in taps]
                taps = self.student.attend(taps) if mode == "keep" else taps
                found.append([cosine_map(t[part].permute(0, 3, 1, 2), s) for t, s in zip(self.lab.taps, taps)])
        self.student.train()
        return [torch.cat(stage) for stage in zip(*found)]

    def snapshot(self):
        return [v.clone() for v in self.state]

    def restore(self, state):
        with torch.no_grad():
            torch._foreach_copy_(self.state, state)

    def modes(self):
        return ["drop"] + (["keep"] if self.recipe.attention != "none" else [])

    def train(self, seed, rows, held, scorer):
        """Yields after every step that was handed to the device. -> student of each mode, at last."""
        steps, kept = self.reset(seed, rows), []
        an_epoch = len(rows) / self.recipe.batch
        ends = {round(an_epoch * (e + 1)) for e in range(self.recipe.epochs)} if self.recipe.schedule == "constant" else set()
        for step in range(1, steps + 1):
            self.run_step()
            if step in ends:
                product = "l2" in self.weights
                kept.append((self.snapshot(), {m: scorer.mean_of(self.maps(held, m), product) for m in self.modes()}))
            yield
        kept = kept or [(self.snapshot(), {m: torch.zeros(()) for m in self.modes()})]
        students = {m: kept[int(torch.stack([v[m] for _, v in kept]).argmin())][0] for m in self.modes()}
        if self.recipe.schedule == "cosine" and self.recipe.epochs >= AVERAGED_FROM:
            students["average"] = [v.clone() for v in self.average]
        return students


def work(recipe, lab, report):
    """All seeds of a recipe, one after the other; yields wherever another training may go on."""
    started, training = time.time(), Training(recipe, lab)
    training.capture()
    yield
    for seed in map(int, recipe.seeds.split()):
        train, held, rows, scorer = lab.of_seed(seed)
        every = {}
        for k, part in enumerate(training.parts(train)):
            own = torch.arange(len(rows), device=lab.device)
            if recipe.one_class:
                own = torch.from_numpy(np.flatnonzero(np.append(scorer.held_class, lab.test_class) == k)).to(lab.device)
            own_held = held[own[own < len(held)]]
            students = yield from training.train(seed, part, own_held, scorer)
            for mode, state in students.items():
                training.restore(state)
                maps = training.maps(rows[own], "keep" if mode == "keep" else "drop")
                if mode not in every:
                    every[mode] = [m.new_zeros((len(rows),) + m.shape[1:]) for m in maps]
                for store, m in zip(every[mode], maps):
                    store[own] = m
        for mode, maps in every.items():
            report(recipe, seed, mode, scorer.score(maps), float(training.loss), time.time() - started)
        if recipe.save:
            small = {f"stage{k}": m.half().cpu().numpy() for k, m in enumerate(every["drop"])}
            np.savez_compressed(f"{recipe.save}{seed}.npz", held=held.cpu().numpy(), **small)
        yield


# ---- the queue ----

def run(recipes, labs, options, started):
    begun, images = time.time(), 0
    with open(options.out, "w", newline="", encoding="utf-8") as file:
        writer, known = csv.writer(file), []

        def report(recipe, seed, mode, rows, loss, seconds):
            for row in rows:
                if not known:
                    known.extend(row)
                    writer.writerow(["recipe", "seed", "mode", "loss"] + known)
                writer.writerow([recipe.name, seed, mode, f"{loss:.5g}"] + [row[k] for k in known])
            file.flush()
            best = {(r["map"], r["memory"], r["sigma"], r["top"]): r["image"] for r in rows}
            print(f"{time.time() - started:6.1f} s  {recipe.name:<24} seed {seed} {mode:<8} standard "
                  f"{best['standard', '0', '2', '0']}  hybrid {best['standard', '2', '2', '0']}", flush=True)

        def resume(slot):
            try:
                if slot["stream"] is None:
                    next(slot["job"])
                else:
                    with torch.cuda.stream(slot["stream"]):
                        next(slot["job"])
                return True
            except StopIteration:
                return False

        waiting, slots = list(recipes), []
        while waiting or slots:
            if time.time() - started > options.seconds:
                print(f"time is up: {len(waiting)} recipes not begun, {len(slots)} not finished", flush=True)
                break
            while waiting and len(slots) < options.at_once:
                recipe = waiting.pop(0)
                stream = torch.cuda.Stream() if options.device.startswith("cuda") else None
                if stream is not None:
                    stream.wait_stream(torch.cuda.default_stream())
                slots.append({"job": work(recipe, labs(recipe.size), report), "stream": stream, "recipe": recipe})
            for slot in list(slots):
                if resume(slot):
                    images += slot["recipe"].batch
                else:
                    slots.remove(slot)
                    del slot["job"]
    print(f"{time.time() - begun:.0f} s, {images / (time.time() - begun):.0f} training images a second", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    common_arguments(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--recipes", default=RECIPES, help="a recipe a line")
    parser.add_argument("--only", help="a,b: only these recipes")
    parser.add_argument("--part", default="1/1", help="i/n: every n-th recipe from the i-th on, for n processes")
    parser.add_argument("--out", required=True, help="CSV file of the results")
    parser.add_argument("--at-once", type=int, default=4, help="trainings side by side")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop so long after the start")
    parser.add_argument("--pixel-step", type=int, default=2, help="pixel metrics from every n-th pixel")
    parser.add_argument("--most", type=int, default=0, help="only so many images of each kind and class (0: all), for a trial")
    parser.add_argument("--override", default="", help="key=value ...: for every recipe, for a trial")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    with open(options.recipes, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    recipes = [Recipe.parse(line + " " + options.override) for line in lines]
    if options.only:
        recipes = [r for r in recipes if r.name in options.only.split(",")]
    part, parts = map(int, options.part.split("/"))
    recipes = recipes[part - 1::parts]
    started, known = time.time(), {}

    def labs(size):
        if size not in known:
            known[size] = Lab(options, size)
            for seed in sorted({s for r in recipes for s in r.seeds.split()}):
                known[size].of_seed(int(seed))  # here, not in a stream that others don't wait for
            if known[size].cuda:
                torch.cuda.synchronize()
            print(f"{time.time() - started:6.1f} s  {size}: {len(known[size].images)} images and the teacher's maps", flush=True)
        return known[size]

    lab = labs(recipes[0].size)
    for seed in sorted(lab.seeds):
        lab.seeds[seed][3].report_memory()
    scorer = lab.seeds[min(lab.seeds)][3]
    for k in list(lab.truth)[:1]:
        difference = check(scorer.full(scorer.memory_test, 2)[scorer.rows[k]], lab.truth[k], lab.labels[lab.test_class == k])
        print(f"{time.time() - started:6.1f} s  metrics differ from twin_metrics.py by {difference:.1e}", flush=True)
    run(recipes, labs, options, started)


if __name__ == "__main__":
    main()
