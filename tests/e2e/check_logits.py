#!/usr/bin/env python3
"""Do exported logits equal onnxruntime's on the same pictures, to 1e-4 of the largest? Pictures are
prepared by Pillow: short side 256, centre crop 224, (p/255 - 0.5) / 0.5.

usage: check_logits.py MODEL.onnx LOGITS.npy   (with LOGITS.npy.paths.txt beside it)
"""
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
ours = np.load(sys.argv[2])
paths = [line.split("\t")[0] for line in open(sys.argv[2] + ".paths.txt")]
assert len(paths) == len(ours) > 0


def prepare(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    w, h = image.size
    size = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
    # across, then down: newer versions of Pillow choose the order by size
    image = image.resize((size[0], h), Image.BILINEAR).resize(size, Image.BILINEAR)
    left, top = round((size[0] - 224) / 2.0), round((size[1] - 224) / 2.0)
    x = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    return ((x - 0.5) / 0.5).transpose(2, 0, 1)


worst = 0.0
for path, row in zip(paths, ours):
    theirs = session.run(None, {session.get_inputs()[0].name: prepare(path)[None]})[0][0]
    worst = max(worst, float(np.abs(theirs - row).max() / np.abs(theirs).max()))
print(f"{len(paths)} pictures: logits differ by {worst:.1e} of the largest")
assert worst < 1e-4, worst
