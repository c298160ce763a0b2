"""Writes augment_golden.raw: what torchvision.transforms.functional does to one Pillow image.

Bytes: the picture (22 rows of 29 pixels), then the results in the order below.
"""
import sys
import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image

out = sys.argv[1] if len(sys.argv) > 1 else "."
rng = np.random.default_rng(5)
H, W = 22, 29
y, x = np.mgrid[0:H, 0:W]
a = np.stack([40 + 6 * x, 230 - 8 * y, 90 + 3 * x - 2 * y], -1) + rng.normal(0, 25, (H, W, 3))
a = a.clip(9, 250).astype(np.uint8)
im = Image.fromarray(a)
erased = F.erase(torch.from_numpy(a.transpose(2, 0, 1).copy()), 4, 7, 9, 13,
                 torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None])
with open(f"{out}/augment_golden.raw", "wb") as f:
    for r in (
        im,
        F.hflip(im),
        F.resized_crop(im, 3, 5, 12, 17, [9, 14], F.InterpolationMode.BILINEAR),
        F.resized_crop(im, 2, 6, 10, 8, [20, 31], F.InterpolationMode.BICUBIC),
        erased.numpy().transpose(1, 2, 0),
        F.affine(im, 0, [3, -2], 1, [0, 0], F.InterpolationMode.NEAREST, [1, 2, 3]),
        F.adjust_brightness(im, 1.4),
        F.adjust_contrast(im, 0.6),
        F.adjust_saturation(im, 1.7),
        F.posterize(im, 3),
        F.solarize(im, 100),
        F.autocontrast(im),
        F.equalize(im),
        F.adjust_sharpness(im, 1.8),
        F.adjust_sharpness(im, 0.3),
        F.rotate(im, 30, F.InterpolationMode.NEAREST, fill=[1, 2, 3]),
        F.adjust_hue(im, 0.2),
    ):
        np.ascontiguousarray(np.asarray(r)).tofile(f)
