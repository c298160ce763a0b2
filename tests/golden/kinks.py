"""Why train_golden.py chooses its pictures: prints how far PyTorch's own gradients in float lie from
those in double, for MobileNetV2 and the first pictures, in several orders of summation.

Where an activation lies within rounding of a kink (0 or 6 of ReLU6), float and double may fall on
different sides of it, and the whole gradient of that element is there or not. "told" are gradients
in double with each activation on the side on which float had it: if nothing but sides differs,
float equals these.

usage: kinks.py
"""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision.models as tv

from train_golden import BATCH, params_of, picture
from zoo_golden import make


class Sides(nn.Module):
    """ReLU6 that remembers the side of each kink, or is told it."""

    told = None

    def forward(self, x):
        if self.told:
            below, above = self.told
            return x.masked_fill(below, 0).masked_fill(above, 6)
        self.seen = (x <= 0, x >= 6)
        return F.relu6(x)


def gradients(k, bn_train, dtype, told=None, channels_last=False, mkldnn=True, threads=1):
    net = tv.mobilenet_v2(num_classes=10)
    net.load_state_dict({n: make(n, tuple(v.shape)) if v.dim() else v
                         for n, v in net.state_dict().items()})
    for m in list(net.modules()):
        for name, child in list(m.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(m, name, Sides())
            if isinstance(child, nn.Dropout):
                child.p = 0.0
    net.train(bn_train).to(dtype)
    x = picture(k, (64, 64)).to(dtype)
    if channels_last:
        net, x = (v.to(memory_format=torch.channels_last) for v in (net, x))
    sides = [m for m in net.modules() if isinstance(m, Sides)]
    for m, t in zip(sides, told or ()):
        m.told = t
    torch.set_num_threads(threads)
    with torch.backends.mkldnn.flags(enabled=mkldnn):
        F.cross_entropy(net(x), torch.arange(BATCH) * 3 % 10).backward()
    grads = [p.grad.double().flatten().numpy() for p in params_of(net, bn_train)]
    return grads, [m.seen for m in sides] if not told else told


def worst(grads, want):
    """The largest distance as a part of the length; gradients that are 0 but for rounding apart."""
    norm = np.linalg.norm
    top = max(norm(w) for w in want)
    return max(norm(g - w) / norm(w) for g, w in zip(grads, want) if norm(w) > 1e-6 * top)


def main():
    for bn_train in (False, True):
        for k in range(3):
            double, sides = gradients(k, bn_train, torch.double)
            for title, how in (("1 thread", {}), ("2 threads", {"threads": 2}),
                               ("channels last", {"channels_last": True}),
                               ("without oneDNN", {"mkldnn": False})):
                single, other = gradients(k, bn_train, torch.float, **how)
                told, _ = gradients(k, bn_train, torch.double, told=other)
                n = sum(int((a != b).sum()) for s, t in zip(sides, other) for a, b in zip(s, t))
                print("%-8s picture %d  %-14s %d on the other side  off by %.1e, told %.1e" %
                      ("training" if bn_train else "frozen", k, title, n, worst(single, double),
                       worst(single, told)), flush=True)


if __name__ == "__main__":
    main()
