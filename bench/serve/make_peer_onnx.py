"""Writes the network that a dcam model runs (teacher and student trunk, cosine distance of three stages, their sum at
full size) as ONNX, from torchvision's ResNet-18, for the peers of measure.py. Weights are random: only time is
measured with it.
    make_peer_onnx.py OUT.onnx"""
import sys

import torch
import torchvision


class Trunk(torch.nn.Module):
    def __init__(self):
        super().__init__()
        r = torchvision.models.resnet18(weights=None).eval()
        self.stem = torch.nn.Sequential(r.conv1, r.bn1, r.relu, r.maxpool)
        self.stages = torch.nn.ModuleList([r.layer1, r.layer2, r.layer3])

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.teacher, self.student = Trunk(), Trunk()

    def forward(self, x):
        total = 0
        for t, s in zip(self.teacher(x), self.student(x)):
            d = 1 - (t * s).sum(1, keepdim=True) / (t.norm(dim=1, keepdim=True) * s.norm(dim=1, keepdim=True) + 1e-6)
            total = total + torch.nn.functional.interpolate(d, size=(64, 64), mode="bilinear", align_corners=False)
        return torch.nn.functional.interpolate(total, size=(256, 256), mode="bilinear", align_corners=False)


torch.manual_seed(1)
torch.onnx.export(Detector().eval(), (torch.zeros(1, 3, 256, 256),), sys.argv[1], opset_version=17, dynamo=False,
                  input_names=["input"], output_names=["map"])
