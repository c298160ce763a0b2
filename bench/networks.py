"""The networks that are measured, as torchvision builds them."""
import torch
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer


def build(arch):
    """With random weights."""
    if arch == "vit_s16":  # torchvision has no smaller one than ViT-B; these are DeiT-S's sizes
        net = VisionTransformer(image_size=224, patch_size=16, num_layers=12, num_heads=6,
                                hidden_dim=384, mlp_dim=1536)
        torch.nn.init.normal_(net.heads.head.weight, std=0.05)  # zeros would say nothing
        return net
    return getattr(models, arch)(weights=None)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions; where the picture is halved the shortcut takes every other pixel and
    fills up with zero channels."""

    def __init__(self, ic, oc):
        super().__init__()
        self.grows = oc != ic
        self.body = nn.Sequential(
            nn.Conv2d(ic, oc, 3, 2 if self.grows else 1, 1, bias=False), nn.BatchNorm2d(oc), nn.ReLU(),
            nn.Conv2d(oc, oc, 3, 1, 1, bias=False), nn.BatchNorm2d(oc))
        self.pad = (0, 0, 0, 0, (oc - ic) // 2, (oc - ic) // 2)

    def forward(self, x):
        short = nn.functional.pad(x[:, :, ::2, ::2], self.pad) if self.grows else x
        return nn.functional.relu(self.body(x) + short)


class CifarResNet(nn.Module):
    """ResNet-20 for pictures of 32x32, as He et al. describe it."""

    def __init__(self):
        super().__init__()
        widths = [16, 16, 32, 64]
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(CifarBlock(i, o), CifarBlock(o, o), CifarBlock(o, o))
            for i, o in zip(widths, widths[1:]))
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.tail(x)


def without_head(net):
    for name in ("fc", "heads", "classifier"):
        if hasattr(net, name):
            setattr(net, name, torch.nn.Identity())
    return net


def export(net, path):
    """As ONNX, with any number of pictures at a time."""
    torch.backends.mha.set_fastpath_enabled(False)  # else attention is no ONNX operator
    torch.onnx.export(net.eval(), torch.randn(1, 3, 224, 224), path, input_names=["input"],
                      output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})
