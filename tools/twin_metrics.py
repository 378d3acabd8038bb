"""Reference metrics of the PyTorch twin, with numpy and scipy alone: AUROC, AP, F1-max, exact AUPRO, rescaled PRO.

Scores are float32, labels and masks boolean. Ties count as one threshold everywhere. A metric that is not defined
(one kind of label only, no masks) is None, never 0. A module of torch_twin.py and patchcore_reference.py; it shares
no code with the C library.
"""
import numpy as np
import scipy.ndimage

METRICS = ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro", "pro_rescaled")


def area(x, y):
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def descending(scores):
    """Order from the highest score down, and the last position of each run of equal scores."""
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    return order, ordered, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def ranking(positives, ends):
    """AUROC, AP, F1-max of labels ordered by falling score; ties count as one threshold."""
    total = int(positives.sum())
    tp = np.cumsum(positives, dtype=np.int64)[ends]
    fp = ends + 1 - tp
    negatives = len(positives) - total
    if total == 0 or negatives == 0:
        return None, None, None
    auroc = area(np.append(0, fp) / negatives, np.append(0, tp) / total)
    ap = float(np.sum(np.diff(np.append(0, tp)) * (tp / (tp + fp))) / total)
    return auroc, ap, float(np.max(2 * tp / (tp + fp + total)))


def image_metrics(scores, labels):
    order, _, ends = descending(scores)
    return dict(zip(METRICS[:3], ranking(labels[order], ends)))


def pixel_metrics(maps, masks, limit=0.3, steps=4000):
    """AUPRO: every distinct score is a threshold, 8-connected regions, integrated to FPR 0.3 and divided by it.
    pro_rescaled: 4,000 equally spaced thresholds from the highest score down, FPR <= 0.3, then both axes min-max
    rescaled, as the authors print it."""
    weight, regions = np.zeros(masks.shape), 0
    for i in np.flatnonzero(masks.any((1, 2))):
        labels, count = scipy.ndimage.label(masks[i], np.ones((3, 3)))
        areas = np.bincount(labels.ravel())
        weight[i] = np.where(labels > 0, 1.0 / areas[labels], 0)
        regions += count
    order, ordered, ends = descending(maps.ravel())
    positives = masks.ravel()[order]
    result = dict(zip(METRICS[3:6], ranking(positives, ends)))

    fpr = np.append(0, np.cumsum(~positives, dtype=np.int64)) / int((~positives).sum())  # after the first n pixels
    pro = np.append(0, np.cumsum(weight.ravel()[order])) / regions
    x, y = np.append(0, fpr[ends + 1]), np.append(0, pro[ends + 1])
    inside = int(np.searchsorted(x, limit, side="right"))
    x_cut, y_cut = x[:inside], y[:inside]
    if inside < len(x):
        part = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        x_cut, y_cut = np.append(x_cut, limit), np.append(y_cut, y[inside - 1] + part * (y[inside] - y[inside - 1]))
    result["aupro"] = area(x_cut, y_cut) / limit

    highest, lowest = float(ordered[0]), float(ordered[-1])
    thresholds = highest - np.arange(steps) * ((highest - lowest) / steps)
    above = np.searchsorted(-ordered.astype(np.float64), -thresholds, side="left")  # pixels with score > threshold
    x, y = fpr[above], pro[above]
    x, y = x[x <= limit], y[x <= limit]
    spread_x, spread_y = x.max() - x.min(), y.max() - y.min()
    result["pro_rescaled"] = area((x - x.min()) / spread_x, (y - y.min()) / spread_y) if spread_x * spread_y else None
    return result


def class_metrics(maps, scores, data):
    """maps: N x H x W; scores: of the N images; data: has labels (N), masks (N x H x W) and has_masks."""
    result = {"images": len(data.labels), "defective": int(data.labels.sum())}
    result.update(image_metrics(scores, data.labels))
    result.update(pixel_metrics(maps, data.masks) if data.has_masks else {name: None for name in METRICS[3:]})
    return result


def mean_metrics(classes):
    result = {}
    for name in METRICS:
        values = [c[name] for c in classes.values() if c[name] is not None]
        result[name] = float(np.mean(values)) if values else None
    return result
