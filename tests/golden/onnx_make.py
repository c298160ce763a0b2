#!/usr/bin/env python3
"""Writes the small ONNX files in tests/golden/onnx/ (needs the packages onnx and numpy).

Good files are checked with onnx.checker before they are written; bad_*.onnx are wrong or
unsupported on purpose, in the one way that their name tells."""
import os

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx")
IR = {7: 3, 11: 6, 13: 7, 17: 8, 21: 10}


def save(name, model, check=True):
    if check:
        onnx.checker.check_model(model, full_check=True)
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(model.SerializeToString(deterministic=True))


def model(graph, opset=13, extra=(), **kw):
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", opset), *extra],
                     producer_name="golden", producer_version="1", **kw)
    m.ir_version = IR.get(opset, 7)
    return m


def net(opset):
    """Conv, Relu, pooling, Gemm: what every classifier is made of."""
    rng = np.random.RandomState(opset)
    w = nh.from_array(rng.randn(4, 3, 3, 3).astype(np.float32), "conv.w")
    b = nh.from_array(rng.randn(4).astype(np.float32), "conv.b")
    fc = nh.from_array(rng.randn(5, 4).astype(np.float32), "fc.w")
    fb = nh.from_array(rng.randn(5).astype(np.float32), "fc.b")
    nodes = [
        h.make_node("Conv", ["x", "conv.w", "conv.b"], ["c"], "conv", kernel_shape=[3, 3],
                    pads=[1, 1, 1, 1], strides=[2, 2]),
        h.make_node("Relu", ["c"], ["r"], "relu"),
        h.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        h.make_node("Flatten", ["p"], ["f"], "flat", axis=1),
        h.make_node("Gemm", ["f", "fc.w", "fc.b"], ["logits"], "fc", transB=1),
    ]
    batch = 2 if opset == 7 else "N"
    inputs = [h.make_tensor_value_info("x", T.FLOAT, [batch, 3, 8, 8])]
    if opset == 7:  # before IR version 4 the weights are inputs too
        inputs += [h.make_tensor_value_info(t.name, t.data_type, t.dims) for t in (w, b, fc, fb)]
    g = h.make_graph(nodes, f"net{opset}", inputs,
                     [h.make_tensor_value_info("logits", T.FLOAT, [batch, 5])], [w, b, fc, fb])
    m = model(g, opset)
    h.set_model_props(m, {"names": "{0: 'ants', 1: \"queen's\", 2: 'bees'}", "imgsz": "[8, 8]",
                          "task": "classify"})
    return m


TYPES = [("f32", T.FLOAT), ("f64", T.DOUBLE), ("f16", T.FLOAT16), ("bf16", T.BFLOAT16),
         ("i8", T.INT8), ("u8", T.UINT8), ("i16", T.INT16), ("u16", T.UINT16), ("i32", T.INT32),
         ("i64", T.INT64), ("u32", T.UINT32), ("u64", T.UINT64), ("bool", T.BOOL)]


def values(name):
    if name == "bool":
        return [1, 0, 1, 1, 0, 1]
    if name.startswith("u"):
        return [0, 1, 2, 3, 100, 200]
    if name.startswith("i"):
        return [0, 1, -2, 3, -100, 100]
    return [0, 1, -2, 0.5, -100, 200]


def encodings():
    """Every type once as raw_data, once in its typed list."""
    init, nodes, outs = [], [], []
    for name, t in TYPES:
        typed = h.make_tensor(name + "_typed", t, [2, 3], values(name))
        assert not typed.HasField("raw_data"), name
        raw = T(name=name + "_raw", data_type=t, dims=[2, 3])
        if name == "bf16":
            raw.raw_data = (np.array(values(name), np.float32).view(np.uint32) >> 16).astype(
                np.uint16).tobytes()
        else:
            raw.raw_data = np.array(values(name), h.tensor_dtype_to_np_dtype(t)).tobytes()
        for p in (typed, raw):
            init.append(p)
            nodes.append(h.make_node("Identity", [p.name], [p.name + "_out"]))
            outs.append(h.make_tensor_value_info(p.name + "_out", t, [2, 3]))
    init.append(T(name="scalar", data_type=T.FLOAT, float_data=[2.5]))
    init.append(T(name="empty", data_type=T.INT64, dims=[0]))
    return model(h.make_graph(nodes, "encodings", [], outs, init))


def identity(init, nodes=(), **kw):
    """The smallest graph around some weights."""
    nodes = list(nodes) or [h.make_node("Add", ["x", init[0].name], ["y"], "add")]
    v = lambda n: h.make_tensor_value_info(n, T.FLOAT, ["N", 4])
    return h.make_graph(nodes, "g", [v("x")], [v("y")], init, **kw)


def external(location="external.bin", offset=16, length=16):
    t = T(name="w", data_type=T.FLOAT, dims=[4], data_location=T.EXTERNAL)
    for k, v in (("location", location), ("offset", offset), ("length", length)):
        if v is not None:
            t.external_data.add(key=k, value=str(v))
    return model(identity([t]))


def attributes():
    """All kinds of attributes, on an operator of another domain, and a subgraph in If."""
    sub = h.make_graph([h.make_node("Identity", ["x"], ["s"])], "sub", [],
                       [h.make_tensor_value_info("s", T.FLOAT, ["N", 4])])
    nodes = [
        h.make_node("Constant", [], ["k"], "", value=nh.from_array(np.float32([1, 2, 3, 4]))),
        h.make_node("Constant", [], ["cond"], "", value=nh.from_array(np.array(True))),
        h.make_node("Everything", ["x", "", "k"], ["e", "", "e2"], "all", domain="org.example",
                    f=0.1, i=-(2**62), s="two\nlines", t=nh.from_array(np.int64([5, 6])),
                    floats=[1.5, -2.5], ints=[1, -1, 2**40], strings=["a", "", "c'd"]),
        h.make_node("If", ["cond"], ["y"], "if", then_branch=sub, else_branch=sub),
    ]
    g = identity([nh.from_array(np.float32([0]), "unused")], nodes)
    return model(g, 13, [h.make_opsetid("org.example", 3)])


def bad():
    w = nh.from_array(np.float32([1, 2, 3, 4]), "w")
    short = T(name="w", data_type=T.FLOAT, dims=[64, 3, 7, 7], raw_data=bytes(100))
    yield "opset6", model(identity([w]), 6)
    yield "raw_size", model(identity([short]))
    yield "typed_size", model(identity([T(name="w", data_type=T.FLOAT, dims=[4], float_data=[1])]))
    yield "huge_dims", model(identity([T(name="w", data_type=T.FLOAT, dims=[1 << 40, 1 << 40])]))
    yield "negative_dim", model(identity([T(name="w", data_type=T.FLOAT, dims=[-4])]))
    yield "float8", model(identity([T(name="w", data_type=17, dims=[4], raw_data=bytes(4))]))
    yield "strings", model(identity([T(name="w", data_type=T.STRING, dims=[1],
                                       string_data=[b"a"])]))
    yield "twice", model(identity([w, w]))
    yield "two_producers", model(identity([w], [h.make_node("Add", ["x", "w"], ["y"]),
                                                h.make_node("Relu", ["x"], ["y"])]))
    yield "cycle", model(identity([w], [h.make_node("Add", ["x", "b"], ["a"], "n0"),
                                        h.make_node("Add", ["a", "w"], ["b"], "n1"),
                                        h.make_node("Relu", ["b"], ["y"], "n2")]))
    yield "nobody", model(identity([w], [h.make_node("Add", ["x", "ghost"], ["y"], "n0")]))
    yield "same_attribute", model(identity([w], [h.make_node("Relu", ["x"], ["y"], "n0", a=1)]))
    yield "outside", external("../onnx_make.py")
    yield "absolute", external("/etc/hostname")
    yield "missing", external("nothing.bin")
    yield "past_end", external(offset=1000)
    yield "length", external(length=12)
    yield "offset_text", external(offset="0x10")
    m = model(identity([w]))
    m.graph.sparse_initializer.add().values.CopyFrom(nh.from_array(np.float32([1]), "sp"))
    yield "sparse", m
    m = model(identity([w]))
    m.functions.append(h.make_function("org.example", "Twice", ["a"], ["b"],
                                       [h.make_node("Add", ["a", "a"], ["b"])],
                                       [h.make_opsetid("", 13)]))
    yield "function", m
    m = model(identity([w]))
    m.graph.input[0].type.CopyFrom(h.make_sequence_type_proto(
        h.make_tensor_type_proto(T.FLOAT, None)))
    yield "sequence", m
    m = model(identity([w]))
    g = m.graph
    for _ in range(20):  # 20 levels of If: 60 nested messages
        g = g.node.add(op_type="If").attribute.add(name="then_branch", type=5).g
    yield "deep", m
    yield "no_graph", onnx.ModelProto(ir_version=7)


def main():
    os.makedirs(OUT, exist_ok=True)
    for opset in IR:
        save(f"net{opset}.onnx", net(opset))
    save("encodings.onnx", encodings())
    with open(os.path.join(OUT, "external.bin"), "wb") as f:
        f.write(np.float32([9, 9, 9, 9, 1, 2, 3, 4]).tobytes())
    save("external.onnx", external(), check=False)  # the checker wants a path
    save("attributes.onnx", attributes(), check=False)  # an operator nobody knows
    shuffled = net(13)
    nodes = list(shuffled.graph.node)[::-1]
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)
    save("unsorted.onnx", shuffled, check=False)
    for name, m in bad():
        if name == "same_attribute":
            a = m.graph.node[0].attribute
            a.add().CopyFrom(a[0])
        save(f"bad_{name}.onnx", m, check=False)
    with open(os.path.join(OUT, "tensor.pb"), "wb") as f:
        f.write(nh.from_array(np.float32([[1, 2], [3, 4]]), "lone").SerializeToString())


main()
