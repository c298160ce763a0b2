"""Writes zoo_nets.txt (torchvision networks with weights made by a formula) and zoo_real.txt (real
checkpoints): what PyTorch computes, for tests/unit/test_zoo.c.

usage: zoo_golden.py [FOLDER WITH THE REAL WEIGHTS]
"""
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision.models as tv

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1


def uniform(name, n):
    """n numbers in [0,1): splitmix64 of (FNV-1a of the name + index), its top 24 bits."""
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = ((h ^ c) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / (1 << 24)


def make(name, shape):
    u = uniform(name, int(np.prod(shape)))
    if len(shape) > 1:
        v = (2 * u - 1) * np.sqrt(6.0 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        v = 0.5 + u
    elif name.endswith("running_mean") or name.endswith("bias"):
        v = 0.2 * u - 0.1
    else:
        v = 0.75 + 0.5 * u
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def picture(shape):
    u = uniform("input", int(np.prod(shape)))
    return torch.from_numpy((2 * u - 1).astype(np.float32).reshape(shape))


def numbers(t):
    return " ".join("%.7g" % v for v in t.flatten().tolist())


def write_net(f, title, net, size):
    net.eval()
    state = net.state_dict()
    for k, v in state.items():
        if v.dim():
            state[k] = make(k, tuple(v.shape))
    net.load_state_dict(state)
    f.write("net %dx%d %s\n" % (size[0], size[1], title))
    for name, m in net.named_modules():
        if isinstance(m, nn.BatchNorm2d):
            f.write("bn %s %d\n" % (name, m.num_features))
        elif isinstance(m, (nn.Conv2d, nn.Linear)):
            shape = " ".join(map(str, m.weight.shape))
            f.write("%s %s %s\n" % ("w" if m.bias is None else "wb", name, shape))
    with torch.no_grad():
        f.write("out %s\n" % numbers(net(picture((2, 3) + size))))


# ---- the networks of the real files, as their repositories define them ----


class CifarBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.pad = cout // 4 if cin != cout else 0

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[CifarBlock(16, 16, 1) for _ in range(n)])
        self.layer2 = nn.Sequential(*[CifarBlock(32 if i else 16, 32, 1 if i else 2)
                                      for i in range(n)])
        self.layer3 = nn.Sequential(*[CifarBlock(64 if i else 32, 64, 1 if i else 2)
                                      for i in range(n)])
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def v1_first(cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout),
                         nn.LeakyReLU(0.1))


def v1_block(cin, cout, stride):
    return nn.Sequential(nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False),
                         nn.BatchNorm2d(cin), nn.LeakyReLU(0.1),
                         nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout),
                         nn.LeakyReLU(0.1))


class MobileNetV1(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage1 = nn.Sequential(v1_first(3, 8), v1_block(8, 16, 1), v1_block(16, 32, 2),
                                    v1_block(32, 32, 1), v1_block(32, 64, 2), v1_block(64, 64, 1))
        self.stage2 = nn.Sequential(v1_block(64, 128, 2),
                                    *[v1_block(128, 128, 1) for _ in range(5)])
        self.stage3 = nn.Sequential(v1_block(128, 256, 2), v1_block(256, 256, 1))
        self.fc = nn.Linear(256, 1000)

    def forward(self, x):
        return self.fc(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))


class ShuffleBlock(nn.Module):
    def __init__(self, cin, cout, down):
        super().__init__()
        mid, stride = cout // 2, 2 if down else 1
        main_in = cin if down else cin // 2
        self.branch_main = nn.Sequential(
            nn.Conv2d(main_in, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU(),
            nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False), nn.BatchNorm2d(mid),
            nn.Conv2d(mid, cout - main_in, 1, bias=False), nn.BatchNorm2d(cout - main_in),
            nn.ReLU())
        if down:
            self.branch_proj = nn.Sequential(
                nn.Conv2d(cin, cin, 3, 2, 1, groups=cin, bias=False), nn.BatchNorm2d(cin),
                nn.Conv2d(cin, cin, 1, bias=False), nn.BatchNorm2d(cin), nn.ReLU())

    def forward(self, x):
        if hasattr(self, "branch_proj"):
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        n, c, h, w = x.shape
        x = x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)
        return torch.cat((x[0], self.branch_main(x[1])), 1)


class ShuffleStages(nn.Module):
    def __init__(self):
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24),
                                        nn.ReLU())
        cin = 24
        for stage, (n, cout) in enumerate(((4, 48), (8, 96), (4, 192)), 2):
            blocks = [ShuffleBlock(cout if i else cin, cout, i == 0) for i in range(n)]
            setattr(self, "stage%d" % stage, nn.Sequential(*blocks))
            cin = cout

    def forward(self, x):
        x = F.max_pool2d(self.first_conv(x), 3, 2, 1)
        return self.stage4(self.stage3(self.stage2(x)))


def write_real(f, folder, name, title, net, size):
    state = torch.load(os.path.join(folder, name), map_location="cpu", weights_only=False)
    state = state.get("state_dict", state)
    state = {k[7:] if k.startswith("module.") else k: v for k, v in state.items()}
    net.load_state_dict(state)
    net.eval()
    with torch.no_grad():
        y = net(picture((2, 3) + size)).flatten()
    f.write("file %s %dx%d %s\n" % (name, size[0], size[1], title))
    step = max(1, y.numel() // 20)  # every step-th number stands for all of them
    f.write("out %d %d %s\n" % (y.numel(), step, numbers(y[::step])))


def main():
    torch.manual_seed(0)
    with open(os.path.join(HERE, "zoo_nets.txt"), "w") as f:
        for title, net in (("ResNet-18", tv.resnet18), ("ResNet-50", tv.resnet50),
                           ("ResNeXt-50 32x4d", tv.resnext50_32x4d),
                           ("MobileNetV2 1.0", tv.mobilenet_v2),
                           ("MobileNetV3 small", tv.mobilenet_v3_small),
                           ("ShuffleNetV2 x0.5", tv.shufflenet_v2_x0_5),
                           ("SqueezeNet 1.0", tv.squeezenet1_0),
                           ("SqueezeNet 1.1", tv.squeezenet1_1)):
            write_net(f, title, net(num_classes=10), (96, 80))
    if len(sys.argv) > 1:
        with open(os.path.join(HERE, "zoo_real.txt"), "w") as f:
            folder = sys.argv[1]
            for name, title, net, size in (
                    ("resnet20-12fca82f.th", "CIFAR ResNet-20", CifarResNet(3), (32, 32)),
                    ("resnet56-4bfd9763.th", "CIFAR ResNet-56", CifarResNet(9), (32, 32)),
                    ("mobilenet_v1_0.25_imagenet.pth.tar", "MobileNetV1 0.25", MobileNetV1(),
                     (224, 224)),
                    ("shufflenetv2_x0.5_nohead.pth", "ShuffleNetV2 x0.5", ShuffleStages(),
                     (224, 224))):
                write_real(f, folder, name, title, net, size)


if __name__ == "__main__":
    main()
