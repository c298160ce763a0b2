#!/usr/bin/env python3
"""Does a written model pass onnx.checker, and does onnxruntime give the probabilities that
`graft predict --json --top N` printed? Pictures are 24-bit BMP files of the network's size or larger;
they are prepared as the file's own metadata says (stretch, bilinear as in Pillow).

usage: check_onnx.py MODEL.onnx PREDICTIONS.json
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime
from PIL import Image

model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
props = {p.key: p.value for p in model.metadata_props}
labels = json.loads(props["graft.labels"])
pre = json.loads(props["graft.preprocess"])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
height, width = pre["size"]
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4}


def prepare(path):
    image = Image.open(path).convert("RGB")
    if pre["resize"] == "shortest":
        w, h = image.size
        short = pre["resize_to"]
        size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
        image = image.resize(size, FILTERS[pre["filter"]])
        left, top = round((size[0] - width) / 2.0), round((size[1] - height) / 2.0)
        image = image.crop((left, top, left + width, top + height))
    else:
        image = image.resize((width, height), FILTERS[pre["filter"]])
    x = np.asarray(image, np.float64) * pre["scale"]
    x = (x - np.array(pre["mean"])) / np.array(pre["std"])
    return x.transpose(2, 0, 1).astype(np.float32)


worst = 0.0
predictions = [p for p in json.load(open(sys.argv[2])) if "top" in p]
assert predictions, "no predictions"
for i in range(0, len(predictions), 7):  # batches of 7: the batch is free
    part = predictions[i:i + 7]
    x = np.stack([prepare(p["path"]) for p in part])
    probs = session.run(["probabilities"], {session.get_inputs()[0].name: x})[0]
    for p, row in zip(part, probs):
        for t in p["top"]:
            worst = max(worst, abs(float(row[labels.index(t["label"])]) - t["p"]))
print(f"{sys.argv[1]}: {len(predictions)} pictures, largest difference {worst:.2e}")
assert worst < 1e-5, worst
