#!/usr/bin/env python3
"""Writes backbone.onnx, the small network that the end-to-end tests start from: edge filters in
eight directions, then two random strided convolutions with batch-norm, global pooling, 10 classes;
input (N,3,32,32). The statistics of its batch-norms are those of striped pictures, so that batch
statistics and stored ones agree."""
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

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
    kernels = rng.normal(0, (2 / (9 * width)) ** 0.5, (out, width, 3, 3))
    if i == 0:
        kernels[:8] = edges()
    w = const(f"conv{i}.weight", kernels)
    nodes.append(helper.make_node("Conv", [x, w], [f"conv{i}"], f"/conv{i}", kernel_shape=[3, 3],
                                  strides=[2, 2] if i else [1, 1], pads=[1, 1, 1, 1]))
    mean, var = statistics(f"conv{i}")
    bn = [const(f"bn{i}.weight", rng.uniform(0.8, 1.2, out)),
          const(f"bn{i}.bias", rng.normal(0, 0.1, out)),
          const(f"bn{i}.mean", mean), const(f"bn{i}.var", var)]
    nodes.append(helper.make_node("BatchNormalization", [f"conv{i}", *bn], [f"bn{i}"], f"/bn{i}"))
    nodes.append(helper.make_node("Relu", [f"bn{i}"], [f"relu{i}"], f"/relu{i}"))
    x, width = f"relu{i}", out
nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"], "/pool"))
nodes.append(helper.make_node("Flatten", ["pool"], ["features"], "/flatten"))
nodes.append(helper.make_node("Gemm", ["features", const("fc.weight", rng.normal(0, 0.1, (10, width))),
                                       const("fc.bias", np.zeros(10))], ["scores"], "/fc", transB=1))
graph = helper.make_graph(
    nodes, "backbone",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, sys.argv[1] if len(sys.argv) > 1 else "backbone.onnx")
