#!/usr/bin/env python3
"""Writes backbone.onnx, the small network that the end-to-end tests start from: edge filters in
eight directions, then two random strided convolutions with batch-norm, global pooling, 10 classes;
input (N,3,32,32). The statistics of its batch-norms are those of striped pictures, so that batch
statistics and stored ones agree.

With the name pointwise.onnx each of the two is a depthwise one and a 1x1 one, and a matrix product
follows: the layers that low-rank adapters go to. usage: make_backbone.py [FILE]"""
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

out_file = sys.argv[1] if len(sys.argv) > 1 else "backbone.onnx"
pointwise = out_file.endswith("pointwise.onnx")
rng = np.random.default_rng(7)
nodes, weights = [], []


def const(name, v):
    weights.append(numpy_helper.from_array(np.asarray(v, np.float32), name))
    return name


def edges():
    """Half of the first layer: differences along four axes, both signs, over the sum of planes."""
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 4.0
    slant = np.array([[2, 1, 0], [1, 0, -1], [0, -1, -2]]) / 4.0
    axes = [sobel, sobel.T, slant, slant[:, ::-1]]
    return np.stack([np.stack([sign * a] * 3) for a in axes for sign in (1, -1)])


def pictures(n):
    """Checks, columns and rows, like those of tools/draw/stripes.c."""
    at = np.arange(32)
    out = np.empty((n, 3, 32, 32), np.float32)
    for i in range(n):
        w = 1 + rng.uniform()
        column, row = (np.floor((at + 8 * rng.uniform()) / w).astype(int) & 1 for _ in range(2))
        dark = [column[None] ^ row[:, None], column[None] | 0 * row[:, None],
                0 * column[None] | row[:, None]][i % 3]
        paper = rng.uniform(40, 215, (3, 1, 1))
        ink = paper + rng.choice([-1, 1], (3, 1, 1)) * rng.uniform(50, 110, (3, 1, 1))
        noisy = np.where(dark, ink, paper) + rng.uniform(5, 20) * rng.uniform(-1, 1, (3, 32, 32))
        out[i] = (np.clip(noisy, 0, 255) / 255 - 0.5) / 0.5
    return out


def statistics(value):
    """Mean and variance of each channel of a value of the graph so far."""
    graph = helper.make_graph(
        nodes, "part", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)], weights)
    part = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    y = onnxruntime.InferenceSession(part.SerializeToString()).run(None, {"input": calibration})[0]
    return y.mean((0, 2, 3)), y.var((0, 2, 3))


calibration = pictures(96)
x, width = "input", 3
for i, out in enumerate((16, 32, 64)):
    window = {"kernel_shape": [3, 3], "strides": [2, 2] if i else [1, 1], "pads": [1, 1, 1, 1]}
    size = 3
    if pointwise and i:
        w = const(f"depth{i}.weight", rng.normal(0, 0.5, (width, 1, 3, 3)))
        nodes.append(helper.make_node("Conv", [x, w], [f"depth{i}"], f"/depth{i}", group=width,
                                      **window))
        x, size, window = f"depth{i}", 1, {"kernel_shape": [1, 1]}
    kernels = rng.normal(0, (2 / (size * size * width)) ** 0.5, (out, width, size, size))
    if i == 0:
        kernels[:8] = edges()
    w = const(f"conv{i}.weight", kernels)
    nodes.append(helper.make_node("Conv", [x, w], [f"conv{i}"], f"/conv{i}", **window))
    mean, var = statistics(f"conv{i}")
    bn = [const(f"bn{i}.weight", rng.uniform(0.8, 1.2, out)),
          const(f"bn{i}.bias", rng.normal(0, 0.1, out)),
          const(f"bn{i}.mean", mean), const(f"bn{i}.var", var)]
    nodes.append(helper.make_node("BatchNormalization", [f"conv{i}", *bn], [f"bn{i}"], f"/bn{i}"))
    nodes.append(helper.make_node("Relu", [f"bn{i}"], [f"relu{i}"], f"/relu{i}"))
    x, width = f"relu{i}", out
nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"], "/pool"))
nodes.append(helper.make_node("Flatten", ["pool"], ["features"], "/flatten"))
features = "features"
if pointwise:  # named as torch.onnx names the weights of nn.Linear on more than two dimensions
    w = const("onnx::MatMul_40", rng.normal(0, width ** -0.5, (width, 48)))
    nodes.append(helper.make_node("MatMul", [features, w], ["mixed"], "/neck/neck.1/proj/MatMul"))
    nodes.append(helper.make_node("Relu", ["mixed"], ["mixed_relu"], "/neck/neck.2/Relu"))
    features, width = "mixed_relu", 48
nodes.append(helper.make_node("Gemm", [features, const("fc.weight", rng.normal(0, 0.1, (10, width))),
                                       const("fc.bias", np.zeros(10))], ["scores"], "/fc", transB=1))
graph = helper.make_graph(
    nodes, "backbone",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, out_file)
