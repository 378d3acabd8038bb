"""How recipe_screen.py scores a student: the memory of normal patches, the maps, and the table of metrics. Written after
docs/method.md, in PyTorch, on the device where the features lie; it shares no code with the C library.
"""
import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F

from fast_metrics import image_auroc

DIMENSIONS, PROTOTYPES, POOL = 64, 1000, 40960
# map, memory's weight, smoothing, top per cent of the image score, whether pixel metrics are wanted
SCORINGS = [("sum", 0, 0, 0, True), ("product", 0, 0, 0, True), ("standard", 0, 0, 0, False), ("standard", 0, 2, 0, True),
            ("standard", 0, 4, 0, False), ("product", 0, 4, 0, False), ("standard", 0, 2, 0.5, False),
            ("standard", 1, 2, 0, True), ("standard", 2, 2, 0, True), ("standard", 2, 4, 0, False), ("standard", 4, 2, 0, True),
            ("standard", 2, 2, 0.5, False)]


# ---- the memory ----

def patches(taps, rows):
    """N x P x 384: layer2 and layer3 averaged over 3 x 3, each at unit length, layer3 bilinear to layer2's grid.
    taps: N x H x W x C."""
    found = []
    for part in rows.split(64):
        two, three = (F.normalize(F.avg_pool2d(t[part].permute(0, 3, 1, 2), 3, 1, 1), dim=1) for t in taps[1:])
        three = F.interpolate(three, two.shape[2:], mode="bilinear", align_corners=False)
        found.append(torch.cat([two, three], 1).flatten(2).transpose(1, 2).contiguous())
    return torch.cat(found)


def principal(taps, rows, generator):
    x = patches(taps, rows).flatten(0, 1)
    x = x[torch.randperm(len(x), generator=generator)[:65536].to(x.device)].double()
    return torch.linalg.eigh(torch.cov(x.T, correction=0))[1][:, -DIMENSIONS:].float()


def k_center(x, count):
    """Greedy; the first is farthest from the mean. x: N x D."""
    squares = x.pow(2).sum(1)
    chosen = torch.empty(count, dtype=torch.long, device=x.device)
    nearest = (x - x.mean(0)).pow(2).sum(1)
    for i in range(count):
        chosen[i] = nearest.argmax()
        centre = x.index_select(0, chosen[i:i + 1])
        d = (x - centre).pow(2).sum(1) if x.device.type == "cpu" else (squares - 2 * (x @ centre.T)[:, 0] + squares[chosen[i]]).clamp(min=0)
        nearest = d if i == 0 else torch.minimum(nearest, d)
    return chosen


def cells(x, prototypes):
    """Each prototype moved to the mean of the vectors nearest to it."""
    cell = torch.cat([torch.cdist(part, prototypes).argmin(1) for part in x.split(8192)])
    sums = torch.zeros(prototypes.shape, dtype=torch.double, device=x.device).index_add_(0, cell, x.double())
    members = torch.bincount(cell, minlength=len(prototypes)).clamp(min=1)
    return (sums / members[:, None]).float()


def memory_maps(taps, train, held, normal_class, test_rows, test_class, seed):
    """Distance of every patch to its class's nearest prototype: (validation, test), N x h x w each."""
    generator = torch.Generator().manual_seed(seed)
    projection = principal(taps, torch.cat(train), generator)
    height, width = taps[1].shape[1:3]
    held_class = normal_class[held.cpu().numpy()]
    maps = [torch.zeros(len(rows), height, width, device=projection.device) for rows in (held, test_rows)]
    for k, rows in enumerate(train):
        pool = (patches(taps, rows) @ projection).flatten(0, 1)
        pool = pool[torch.randperm(len(pool), generator=generator)[:POOL].to(pool.device)]
        prototypes = cells(pool, pool[k_center(pool, min(PROTOTYPES, len(pool)))])
        for store, wanted, classes in zip(maps, (held, test_rows), (held_class, test_class)):
            own = torch.from_numpy(np.flatnonzero(classes == k)).to(projection.device)
            for part in own.split(32):
                x = patches(taps, wanted[part]) @ projection
                store[part] = torch.cdist(x, prototypes[None].expand(len(x), -1, -1)).amin(2).view(-1, height, width)
    return maps


# ---- maps and scores ----

def up(rows, wanted):
    """The matrix of bilinear up-sampling (half-pixel centres) along one axis: wanted x rows."""
    return F.interpolate(torch.eye(rows)[None], wanted, mode="linear", align_corners=False)[0].T


def blur(size, sigma):
    return torch.from_numpy(scipy.ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="reflect", truncate=4.0)).float() \
        if sigma else torch.eye(size)


class Scorer:
    """All ways of scoring one seed's students: statistics come from its validation part alone."""

    def __init__(self, names, truth, labels, test_class, held_class, memory, size, device):
        self.names, self.truth, self.labels, self.test_class, self.held_class = names, truth, labels, test_class, held_class
        self.size, self.small, self.device = size, size // 4, device
        self.to_small = {side: up(side, self.small).to(device) for side in (size // 4, size // 8, size // 16)}
        self.to_full = {sigma: (blur(size, sigma) @ up(self.small, size)).to(device) for sigma in (0, 2, 4)}
        counts = np.bincount(held_class, minlength=len(names))
        self.share = torch.from_numpy((held_class == np.arange(len(names))[:, None]) / counts[:, None]).to(device)
        self.test_index = torch.from_numpy(test_class).to(device)
        self.rows = {k: torch.from_numpy(np.flatnonzero(test_class == k)).to(device) for k in range(len(names))}
        self.memory_test = self.upsample(self.standardised(*memory))

    def standardised(self, held, test):
        """Minus the mean, over the deviation, of the class's validation maps."""
        x = held.double().flatten(1)
        mean = self.share @ x.mean(1)
        deviation = (self.share @ x.pow(2).mean(1) - mean.pow(2)).clamp(min=1e-30).sqrt()
        return ((test - mean[self.test_index, None, None]) / deviation[self.test_index, None, None]).float()

    def upsample(self, maps):
        matrix = self.to_small[maps.shape[1]]
        return matrix @ maps @ matrix.T

    def full(self, maps, sigma):
        return self.to_full[sigma] @ maps @ self.to_full[sigma].T

    def combine(self, held, test):
        stages = [self.upsample(m) for m in test]
        return {"sum": sum(stages), "product": stages[0] * stages[1] * stages[2],
                "standard": sum(self.upsample(self.standardised(h, t)) for h, t in zip(held, test))}

    def mean_of(self, maps, product):
        """Mean of the whole map, by which an epoch is chosen."""
        stages = [self.upsample(m) for m in maps]
        return self.full(stages[0] * stages[1] * stages[2] if product else sum(stages), 0).mean()

    def score(self, maps, scorings=SCORINGS):
        """maps: stage maps of the validation images, then the test images. -> a dictionary a way of scoring."""
        n = len(self.held_class)
        combined = self.combine([m[:n] for m in maps], [m[n:] for m in maps])
        scores, pixels = [], []
        for kind, weight, sigma, top, wanted in scorings:
            full = self.full(combined[kind] + weight * self.memory_test if weight else combined[kind], sigma)
            flat = full.flatten(1)
            scores.append(flat.topk(max(1, int(flat.shape[1] * top / 100 + 0.5)), 1)[0].mean(1) if top else flat.amax(1))
            pixels.append(torch.stack([self.truth[k].score(full[self.rows[k]]) for k in self.truth]) if wanted and self.truth else None)
        scores = torch.stack(scores).float().cpu().numpy()
        return [self.row(way, s, None if p is None else p.cpu().numpy()) for way, s, p in zip(scorings, scores, pixels)]

    def row(self, way, scores, pixels):
        image = [image_auroc(scores[self.test_class == k], self.labels[self.test_class == k]) for k in range(len(self.names))]
        row = dict(zip(("map", "memory", "sigma", "top"), [way[0]] + [f"{v:g}" for v in way[1:4]]))
        row["image"] = percent(None if None in image else np.mean(image))
        row["pixel"], row["aupro"] = ("", "") if pixels is None else map(percent, pixels.mean(0))
        row.update({f"image {name}": percent(v) for name, v in zip(self.names, image)})
        for i, k in enumerate(self.truth):
            row[f"pixel {self.names[k]}"], row[f"aupro {self.names[k]}"] = ("", "") if pixels is None else map(percent, pixels[i])
        return row

    def report_memory(self):
        zero = [torch.zeros(len(self.held_class) + len(self.labels), s, s, device=self.device) for s in (self.small, self.small // 2, self.small // 4)]
        row = self.score(zero, [("sum", 1, 2, 0, True)])[0]
        print(f"memory alone: image {row['image']} pixel {row['pixel']} AUPRO {row['aupro']}", flush=True)


def percent(value):
    return "" if value is None else f"{100 * value:.2f}"
