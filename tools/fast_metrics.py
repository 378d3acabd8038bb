"""The metrics of twin_metrics.py for many maps of the same images, on the device where they lie: what a study of many
recipes needs. Image AUROC, pixel AUROC and AUPRO only, with the same definitions; `check` compares the two. A module
of recipe_screen.py.
"""
import numpy as np
import scipy.ndimage
import torch

from twin_metrics import class_metrics, descending, ranking


class PixelTruth:
    """Masks of one class's test images, reduced to every step-th pixel. labels: N; masks: N x H x W, boolean."""

    def __init__(self, masks, step, device):
        masks = masks[:, ::step, ::step]
        share, self.regions = np.zeros(masks.shape), 0
        for i in np.flatnonzero(masks.any((1, 2))):
            labels, count = scipy.ndimage.label(masks[i], np.ones((3, 3)))
            areas = np.bincount(labels.ravel())
            share[i] = np.where(labels > 0, 1.0 / areas[labels], 0)
            self.regions += count
        self.masks, self.step, self.numpy_masks = torch.from_numpy(masks.ravel()).to(device), step, masks
        self.share = torch.from_numpy(share.ravel()).to(device)

    def score(self, maps, limit=0.3):
        """maps: N x H x W at full size -> (pixel AUROC, AUPRO) as a tensor of 2, not yet waited for. A run of equal
        scores is one threshold: its end is found without taking the data to the processor."""
        scores = maps[:, ::self.step, ::self.step].reshape(-1)
        ordered, order = scores.sort(descending=True)
        defect = self.masks[order]
        tp, fp = defect.cumsum(0).double(), (~defect).cumsum(0).double()
        found = self.share[order].cumsum(0) / self.regions
        last = torch.ones_like(defect)
        last[:-1] = ordered[1:] != ordered[:-1]
        # The point before each threshold's end is the end of the threshold before; elsewhere the curve stands still.
        places = torch.arange(len(ordered), device=scores.device)
        ends = torch.where(last, places, -1)
        before = torch.cat([ends.new_full((1,), -1), ends[:-1]]).cummax(0)[0]

        def previous(values):
            return torch.where(before >= 0, values[before.clamp(min=0)], 0)

        x, y = fp / fp[-1], tp / tp[-1]
        auroc = ((x - previous(x)) * (y + previous(y)) / 2)[last].sum()
        left, low = previous(x), previous(found)
        width = (x.clamp(max=limit) - left).clamp(min=0)
        slope = (found - low) / (x - left).clamp(min=1e-300)
        high = torch.where(x > limit, low + slope * width, found)
        aupro = (width * (low + high) / 2)[last].sum() / limit
        return torch.stack([auroc, aupro])


def image_auroc(scores, labels):
    order, _, ends = descending(scores)
    return ranking(labels[order], ends)[0]


def check(maps, truth, labels):
    """Largest difference to twin_metrics.py for one class's maps (torch, N x H x W)."""
    class Data:
        pass
    data = Data()
    data.labels, data.masks, data.has_masks = labels, truth.numpy_masks, True
    small = maps[:, ::truth.step, ::truth.step].float().cpu().numpy()
    wanted = class_metrics(small, small.reshape(len(small), -1).max(1), data)
    found = truth.score(maps).tolist()
    return max(abs(wanted["pixel_auroc"] - found[0]), abs(wanted["aupro"] - found[1]))
