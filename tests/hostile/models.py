"""Hostile ONNX files: damaged bytes, wrong structure, operators that ask for the impossible."""
import os

from suite import flipped, truncations
from wire import *

BIG, HUGE = 2**31, 2**40
MIN, MAX = -2**63, 2**63 - 1


def operators():
    """name -> body from x to y: each must be refused when the network is prepared or run."""
    one = lambda op, weights=(), ins="x", opset=13, channels=3, **a: around(
        [node(op, ins, "y", **a)], weights, channels, opset)
    shaped = lambda op, *v, **a: one(op, [const_ints("s", *v)], "x s", **a)
    conv = lambda dims=(3, 3, 3, 3), **a: one("Conv", [const("w", dims)], "x w", **a)
    yield "conv-group-0", conv(group=0)
    yield "conv-group-negative", conv(group=-3)
    yield "conv-group-2", conv(group=2)
    yield "conv-group-max", conv(group=MAX)
    yield "conv-stride-0", conv(strides=[0, 0])
    yield "conv-stride-negative", conv(strides=[-1, -1])
    yield "conv-stride-1-of-2", conv(strides=[1])
    yield "conv-pads-huge", conv(pads=[BIG] * 4)
    yield "conv-pads-max", conv(pads=[MAX] * 4)
    yield "conv-pads-negative", conv(pads=[-40] * 4)
    yield "conv-pads-20000", conv(pads=[20000] * 4)
    yield "conv-dilation-0", conv(dilations=[0, 0])
    yield "conv-dilation-huge", conv(dilations=[HUGE, HUGE])
    yield "conv-dilation-max", conv(dilations=[MAX, MAX])
    yield "conv-kernel-lies", conv(kernel_shape=[5, 5])
    yield "conv-kernel-rank", conv(kernel_shape=[3])
    yield "conv-kernel-larger", conv((3, 3, 40, 40))
    yield "conv-w-rank-1", conv((81,))
    yield "conv-w-rank-7", conv((3, 3, 1, 1, 1, 1, 1))
    yield "conv-w-empty", conv((0, 3, 3, 3))
    yield "conv-w-channels", conv((3, 4, 3, 3))
    yield "conv-w-input-twice", one("Conv", ins="x x", channels=1)
    yield "conv-auto-pad", conv(auto_pad="SAME_SIDEWAYS")
    yield "conv-bias", one("Conv", [const("w", [3, 3, 1, 1]), const("b", [7])], "x w b")
    yield "conv-no-weights", one("Conv")
    yield "conv-type", one("Conv", [tensor("w", [3, 3, 1, 1], INT64, ints(*[1] * 9))], "x w")
    yield "transposed-stride", one("ConvTranspose", [const("w", [3, 3, 3, 3])], "x w",
                                   strides=[65536, 65536])
    yield "transposed-stride-max", one("ConvTranspose", [const("w", [3, 3, 3, 3])], "x w",
                                       strides=[MAX, MAX])
    yield "transposed-output", one("ConvTranspose", [const("w", [3, 3, 3, 3])], "x w",
                                   output_shape=[HUGE, HUGE])
    yield "pool-kernel-0", one("MaxPool", kernel_shape=[0, 0])
    yield "pool-kernel-none", one("MaxPool")
    yield "pool-kernel-huge", one("AveragePool", kernel_shape=[HUGE, HUGE])
    yield "pool-stride-0", one("AveragePool", kernel_shape=[2, 2], strides=[0, 0])
    yield "pool-pads", one("MaxPool", kernel_shape=[2, 2], pads=[BIG] * 4)
    yield "pool-dilation", one("MaxPool", kernel_shape=[2, 2], dilations=[MAX, MAX])
    yield "reshape-huge", shaped("Reshape", 1, 3, BIG, BIG)
    yield "reshape-overflow", shaped("Reshape", 2**32, 2**32, 3, 1024)
    yield "reshape-minus-2", shaped("Reshape", 1, 3, -2, 32)
    yield "reshape-two-free", shaped("Reshape", -1, 3, -1, 32)
    yield "reshape-zero-past-end", shaped("Reshape", 1, 3, 32, 32, 0)
    yield "reshape-rank-9", shaped("Reshape", 1, 3, 32, 32, 1, 1, 1, 1, 1)
    yield "reshape-min", shaped("Reshape", MIN, MIN)
    yield "reshape-float", one("Reshape", [const("s", [4])], "x s")
    yield "expand-huge", shaped("Expand", 1, 3, HUGE, HUGE)
    yield "expand-bomb", shaped("Expand", 65536, 3, 32, 32)
    yield "expand-negative", shaped("Expand", -1, 3, 32, 32)
    yield "tile-huge", shaped("Tile", 1, 1, HUGE, HUGE)
    yield "tile-bomb", shaped("Tile", 1, 1, 2048, 2048)
    yield "tile-negative", shaped("Tile", 1, 1, -1, 1)
    yield "tile-short", shaped("Tile", 2)
    yield "pad-huge", shaped("Pad", 0, 0, HUGE, HUGE, 0, 0, HUGE, HUGE)
    yield "pad-max", shaped("Pad", 0, 0, MAX, MAX, 0, 0, MAX, MAX)
    yield "pad-bomb", shaped("Pad", 0, 0, 30000, 30000, 0, 0, 0, 0)
    yield "pad-negative", shaped("Pad", 0, 0, -99, -99, 0, 0, 0, 0)
    yield "pad-odd", shaped("Pad", 0, 0, 1)
    yield "pad-reflect-far", shaped("Pad", 0, 0, 99, 99, 0, 0, 99, 99, mode="reflect")
    for name, scale in (("huge", 1e6), ("nan", float("nan")), ("inf", float("inf")), ("zero", 0.0),
                        ("negative", -2.0), ("bomb", 1000.0)):
        yield "resize-" + name, one("Resize", [tensor("s", [4], raw=floats(1, 1, scale, scale))],
                                    ["x", "", "s"])
    yield "resize-sizes", one("Resize", [const_ints("s", 1, 3, HUGE, HUGE)], ["x", "", "", "s"])
    yield "upsample-9", one("Upsample", [tensor("s", [4], raw=floats(1, 1, 1e5, 1e5))], "x s", opset=9)
    fill = lambda *v: around([node("ConstantOfShape", "s", "c"), node("ReduceMean", "c", "m", keepdims=0),
                              node("Add", "x m", "y")], [const_ints("s", *v)])
    yield "constant-2^40", fill(HUGE)
    yield "constant-2^60", fill(2**20, 2**20, 2**20)
    yield "constant-2^30", fill(2**30)
    yield "constant-2^28", fill(2**28)
    yield "constant-negative", fill(-5)
    yield "constant-overflow", fill(2**63 - 1, 2**63 - 1)
    scalar = lambda name, v: tensor(name, [], raw=floats(v))
    span = lambda a, b, d: around(
        [node("Range", "a b d", "c"), node("ReduceMean", "c", "m", keepdims=0), node("Add", "x m", "y")],
        [scalar("a", a), scalar("b", b), scalar("d", d)])
    yield "range-huge", span(0, 1e15, 1)
    yield "range-2^29", span(0, 2.0**29, 1)
    yield "range-zero", span(0, 10, 0)
    yield "range-nan", span(0, float("nan"), 1)
    yield "range-inf", span(0, float("inf"), 1)
    for n in (16, 24, 60):
        yield "concat-doubling-%d" % n, around(
            [node("Concat", ["v%d" % i] * 2 if i else "x x", "v%d" % (i + 1), axis=2) for i in range(n)] +
            [node("Identity", "v%d" % n, "y")])
    yield "concat-axis", one("Concat", ins="x x", axis=MIN)
    yield "concat-nothing", one("Concat", ins=[], axis=0)
    yield "concat-shapes", around([node("MaxPool", "x", "p", kernel_shape=[2, 2]),
                                   node("Concat", "x p", "y", axis=1)])
    # c of any shape, used up in one number, so that nothing behind it is wrong
    used = [node("ReduceMean", "c", "m", keepdims=0), node("Add", "x m", "y")]
    outer = [node("Reshape", "x s0", "r0"), node("Reshape", "x s1", "r1"), node("Mul", "r0 r1", "o"),
             node("Reshape", "o s2", "r2"), node("Mul", "r2 r1", "c")]
    yield "broadcast-bomb", around(outer + used, [const_ints("s0", 3072, 1), const_ints("s1", 1, 3072),
                                           const_ints("s2", -1, 1)])
    yield "broadcast-mismatch", one("Add", [const("b", [5])], "x b")
    yield "matmul-bomb", around([node("Reshape", "x s0", "r0"), node("Tile", "r0 t", "c0"),
                                 node("Transpose", "c0", "c1", perm=[1, 0]), node("MatMul", "c0 c1", "c")] + used,
                                [const_ints("s0", 3072, 1), const_ints("t", 300, 1)])
    yield "matmul-mismatch", one("MatMul", [const("b", [31, 5])], "x b")
    yield "gemm-rank", one("Gemm", [const("b", [3, 3])], "x b")
    yield "gather-range", one("Gather", [const_ints("i", 99)], "x i", axis=1, channels=1)
    yield "gather-min", one("Gather", [const_ints("i", MIN)], "x i", axis=1, channels=1)
    yield "gather-axis", one("Gather", [const_ints("i", 0)], "x i", axis=9)
    yield "gather-run-time", around([node("Cast", "x", "i", to=INT64), node("Gather", "w i", "g"),
                                     node("Add", "x g", "y")], [const("w", [1])])
    yield "slice-step-0", one("Slice", [const_ints("a", 0), const_ints("b", 9), const_ints("c", 2),
                                        const_ints("d", 0)], "x a b c d")
    yield "slice-step-min", one("Slice", [const_ints("a", MAX), const_ints("b", MIN), const_ints("c", 9),
                                          const_ints("d", MIN)], "x a b c d")
    yield "slice-lengths", one("Slice", [const_ints("a", 0, 0), const_ints("b", 9)], "x a b")
    split = lambda outs, **a: around([node("Split", "x s" if "s" in a else "x", outs, axis=a.get("axis", 1)),
                                      node("Identity", "y0", "y")],
                                     [const_ints("s", *a["s"])] if "s" in a else [])
    yield "split-sum", split("y0 y1", s=[2, 2])
    yield "split-negative", split("y0 y1", s=[4, -1])
    yield "split-overflow", split("y0 y1", s=[MAX, MAX])
    yield "split-axis", split("y0 y1", s=[1, 2], axis=7)
    yield "topk-huge", around([node("TopK", "x k", "y i")], [const_ints("k", HUGE)])
    yield "topk-negative", around([node("TopK", "x k", "y i")], [const_ints("k", -1)])
    hot = lambda d: around([node("ArgMax", "x", "i", axis=1), node("OneHot", "i d v", "o"),
                            node("ReduceMean", "o", "m", keepdims=0), node("Add", "x m", "y")],
                           [tensor("d", [1], INT64, ints(d)), tensor("v", [2], raw=floats(0, 1))])
    yield "onehot-huge", hot(HUGE)
    yield "onehot-negative", hot(-3)
    yield "onehot-bomb", hot(2**24)
    yield "cumsum-axis", one("CumSum", [const_ints("a", 9)], "x a")
    yield "transpose-twice", one("Transpose", perm=[0, 1, 1, 3])
    yield "transpose-range", one("Transpose", perm=[0, 1, 2, 99])
    yield "transpose-short", one("Transpose", perm=[1, 0])
    yield "transpose-negative", one("Transpose", perm=[0, 1, -2, MIN])
    yield "squeeze-not-1", shaped("Squeeze", 1)
    yield "squeeze-range", shaped("Squeeze", MIN)
    yield "unsqueeze-twice", shaped("Unsqueeze", 0, 0)
    yield "unsqueeze-rank", shaped("Unsqueeze", 0, 1, 2, 3, 4, 5, 6, 7)
    yield "softmax-axis", one("Softmax", axis=99)
    yield "flatten-axis", one("Flatten", axis=-99)
    yield "reduce-axis", one("ReduceMean", axes=[9])
    yield "reduce-min", one("ReduceMean", axes=[MIN, MAX])
    yield "reduce-twice", one("ReduceMean", axes=[1, 1, -3])
    yield "cast-to", one("Cast", to=999)
    yield "cast-string", one("Cast", to=STRING)
    bn = lambda n, var: one("BatchNormalization", [const(c, [n], v) for c, v in
                                                   (("a", 1), ("b", 0), ("m", 0), ("v", var))], "x a b m v")
    yield "batchnorm-size", bn(5, 1)
    yield "groupnorm-0", one("GroupNormalization", [const("a", [3]), const("b", [3])], "x a b", opset=21,
                             num_groups=0)
    yield "layernorm-axis", one("LayerNormalization", [const("a", [32])], "x a", opset=17, axis=9)
    yield "lrn-0", one("LRN", size=0)
    yield "lrn-negative", one("LRN", size=MIN)
    yield "unknown", one("FrobnicateV9", domain="")
    yield "unknown-domain", one("Relu", domain="com.example.nowhere")
    yield "dynamic", around([node("NonZero", "x", "n"), node("Cast", "n", "y", to=FLOAT)])
    body = graph([node("Identity", "x", "z")], inputs=[], outputs=[info("z", None)])
    yield "if", one("If", then_branch=G(body), else_branch=G(body))
    yield "loop", one("Loop", [const_ints("n", MAX)], ["n", "", "x"], body=G(body))


def structures():
    """name -> file: refused when read, or by the first command that looks at the graph."""
    relu = [node("Relu", "x", "y")]
    w = lambda **a: around([node("Conv", "x w", "y")], [tensor("w", **a)])
    e = lambda **a: around([node("Conv", "x w", "y")], [external("w", [3, 3, 1, 1], **a)])
    x = lambda dims, elem=FLOAT: around(relu, inputs=[info("x", dims, elem)])
    yield "cycle-self", around([node("Add", "x y", "y")])
    yield "cycle-two", around([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")])
    yield "cycle-long", around([node("Add", ["x", "v499" if i == 0 else "v%d" % (i - 1)], "v%d" % i)
                                for i in range(500)] + [node("Relu", "v499", "y")])
    yield "output-nowhere", around(relu, outputs=[info("nowhere", (None, 4))])
    yield "output-none", around(relu, outputs=[])
    yield "output-twice", around(relu + [node("Tanh", "x", "y")])
    yield "input-nowhere", around([node("Add", "x nowhere", "y")])
    yield "input-none", around(relu, inputs=[])
    yield "input-twice", around(relu, inputs=[info("x", INPUT), info("x", INPUT)])
    yield "input-two", around([node("Add", "x z", "y")], inputs=[info("x", INPUT), info("z", INPUT)])
    yield "input-untyped", around(relu, inputs=[info("x", None)])
    yield "input-rank-0", x([])
    yield "input-rank-2", x([None, 3072])
    yield "input-rank-9", x([None, 3] + [2] * 7)
    yield "input-negative", x([None, 3, -32, -32])
    yield "input-empty", x([None, 3, 0, 0])
    yield "input-huge", x([None, 3, BIG, BIG])
    yield "input-60000", x([None, 3, 60000, 60000])
    yield "input-7-channels", x([None, 7, 32, 32])
    yield "input-batch-huge", x([HUGE, 3, 32, 32])
    yield "input-int64", x(INPUT, INT64)
    yield "input-string", x(INPUT, STRING)
    yield "input-type-99", x(INPUT, 99)
    yield "nothing", model(b"")
    yield "no-nodes", model(graph([], outputs=[info("x", INPUT)]))
    yield "opset-none", around(relu, opset=None)
    for v in (0, 1, 6, 999, -1, 2**62):
        yield "opset-%d" % v, around(relu + [node("Upsample", "x", "u")], opset=v)
    yield "opset-twice", around(relu) + msg(8, num(2, 7))
    yield "weight-twice", around([node("Conv", "x w", "y")], [const("w", [3, 3, 1, 1])] * 2)
    yield "weight-is-output", around([node("Relu", "x", "y")], [const("y", [3])])
    yield "raw-short", w(dims=[3, 3, 1, 1], raw=bytes(35))
    yield "raw-long", w(dims=[3, 3, 1, 1], raw=bytes(37))
    yield "raw-none", w(dims=[3, 3, 1, 1])
    yield "raw-and-floats", w(dims=[3, 3, 1, 1], raw=bytes(36), more=msg(4, bytes(36))[:0] + f32(4, 1))
    yield "floats-short", w(dims=[3, 3, 1, 1], more=msg(4, bytes(32)))
    yield "floats-odd", w(dims=[3, 3, 1, 1], more=msg(4, bytes(33)))
    yield "dims-negative", w(dims=[3, -3, 1, 1], raw=bytes(36))
    yield "dims-overflow", w(dims=[2**32, 2**32, 2**32, 2**32], raw=bytes(36))
    yield "dims-wrap", w(dims=[2**62, 4, 1, 1], raw=b"")
    yield "dims-huge", w(dims=[HUGE, 3, 1, 1], raw=bytes(36))
    yield "dims-empty", w(dims=[0, 3, 1, 1], raw=b"")
    yield "dims-rank-9", w(dims=[3, 3] + [1] * 7, raw=bytes(36))
    yield "dims-million", w(dims=[1] * 1000000, raw=bytes(4))
    yield "type-0", w(dims=[3, 3, 1, 1], dtype=0, raw=bytes(36))
    yield "type-99", w(dims=[3, 3, 1, 1], dtype=99, raw=bytes(36))
    yield "type-string", w(dims=[3, 3, 1, 1], dtype=STRING, raw=bytes(36))
    yield "type-negative", w(dims=[3, 3, 1, 1], dtype=-1, raw=bytes(36))
    yield "segment", w(dims=[3, 3, 1, 1], raw=bytes(36), more=msg(3, num(1, 0) + num(2, HUGE)))
    yield "external-up", e(location="../pictures/good.bmp")
    yield "external-up-inside", e(location="sub/../../pictures/good.bmp")
    yield "external-absolute", e(location="/etc/passwd")
    yield "external-link", e(location="link.bin")
    yield "external-zero", e(location="zero.bin")
    yield "external-fifo", e(location="fifo.bin")
    yield "external-folder", e(location="folder.bin")
    yield "external-missing", e(location="missing.bin")
    yield "external-none", e()
    yield "external-empty", e(location="")
    yield "external-offset", e(location="data.bin", offset=40)
    yield "external-offset-huge", e(location="data.bin", offset=2**64 - 36)
    yield "external-offset-wrap", e(location="data.bin", offset=2**64)
    yield "external-offset-minus", e(location="data.bin", offset=-1)
    yield "external-offset-odd", e(location="data.bin", offset="0x10")
    yield "external-length", e(location="data.bin", length=HUGE)
    yield "attribute-float", around([node("Conv", "x w", "y", kernel_shape=[1.5, 1.5])],
                                    [const("w", [3, 3, 1, 1])])
    yield "attribute-string", around([node("Softmax", "x", "y", axis="one")])
    yield "attribute-tensor", around([node("Softmax", "x", "y", axis=T(const("t", [1])))])
    yield "attribute-kind", around([node("Softmax", "x", "y", more=msg(5, attr("axis", 1, kind=7)))])
    yield "attribute-kind-99", around([node("Softmax", "x", "y", more=msg(5, attr("axis", 1, kind=99)))])
    yield "attribute-twice", around([node("Softmax", "x", "y", more=msg(5, attr("axis", 1)) * 2)])
    yield "attribute-nameless", around([node("Softmax", "x", "y", more=msg(5, num(3, 1)))])
    yield "attribute-5000", around([node("Softmax", "x", "y", **{"a%d" % i: i for i in range(5000)})])
    yield "attribute-unknown", around([node("Relu", "x", "y", slope=0.1)])
    yield "ints-million", around([node("Conv", "x w", "y", kernel_shape=[1] * 1000000)],
                                 [const("w", [3, 3, 1, 1])])
    yield "inputs-10000", around([node("Concat", ["x"] * 10000, "y", axis=1)], channels=30000)
    yield "sparse", around(relu, more=msg(15, msg(1, const("v", [1]))))
    yield "functions", around(relu) + msg(25, msg(1, "f"))
    yield "graph-twice", around(relu) + msg(7, graph(relu))
    for depth in (12, 200, 5000):
        g = graph([node("Identity", "x", "z")], inputs=[], outputs=[info("z", None)])
        for _ in range(depth):
            g = graph([node("If", "x", "z", then_branch=G(g), else_branch=G(b""))], inputs=[],
                      outputs=[info("z", None)])
        yield "nested-%d" % depth, around([node("If", "x", "y", then_branch=G(g), else_branch=G(b""))])
    yield "nodes-empty", model(graph([]) + b"\x0a\x00" * 1000000)
    yield "inputs-empty", model(graph(relu) + b"\x5a\x00" * 1000000)
    yield "weights-empty", model(graph(relu) + b"\x2a\x00" * 1000000)
    yield "props-empty", around(relu) + b"\x72\x00" * 1000000
    yield "varint-long", b"\x08" + b"\xff" * 11 + around(relu)
    yield "length-beyond", around(relu) + b"\x72\xff\xff\xff\x7f"
    yield "length-2^63", around(relu) + b"\x72" + b"\xff" * 9 + b"\x01"
    yield "group-wire", around(relu) + b"\x73" * 100000
    yield "field-0", around(relu) + b"\x02\x00"
    yield "names-long", around([node("Relu", "x", "y" * 1000000), node("Gnu", "y" * 1000000, "y")])
    yield "names-escape", around([node("\033[2JGnu\n", "x", "y", name="a\033[31m\nb")])
    yield "names-not-utf8", around([node("Gnu\udcff\udcfe", "x", "y", name="\udcff")])
    yield "names-none", around([node("Gnu", "x", "y", name="")])


def metadata():
    """name -> metadata properties that must be refused."""
    pre = lambda **a: [("graft.preprocess", __import__("json").dumps(
        dict(dict(size=[32, 32], resize="stretch", mean=[0, 0, 0], std=[1, 1, 1]), **a)))]
    yield "pre-size", pre(size=[10**9, 10**9])
    yield "pre-size-0", pre(size=[0, 32])
    yield "pre-size-minus", pre(size=[-32, 32])
    yield "pre-size-text", pre(size="32")
    yield "pre-size-3", pre(size=[32, 32, 32])
    yield "pre-size-2^70", pre(size=[2**70, 1])
    yield "pre-std-0", pre(std=[1, 0, 1])
    yield "pre-std-2", pre(std=[1, 1])
    yield "pre-mean-text", pre(mean=["a", "b", "c"])
    yield "pre-scale-0", pre(scale=0)
    yield "pre-scale-1e999", [("graft.preprocess", '{"size": [32, 32], "scale": 1e999}')]
    yield "pre-nan", [("graft.preprocess", '{"size": [32, 32], "scale": NaN}')]
    yield "pre-crop", pre(crop_pct=-1, resize="shortest")
    yield "pre-crop-small", pre(crop_pct=1e-9, resize="shortest")
    yield "pre-resize", pre(resize="sideways")
    yield "pre-filter", pre(filter=7)
    yield "pre-channels", pre(channels="cmyk")
    yield "pre-pad", pre(pad_value=256)
    yield "pre-empty", [("graft.preprocess", "")]
    yield "pre-list", [("graft.preprocess", "[]")]
    yield "pre-open", [("graft.preprocess", '{"size": [32, 32')]
    yield "pre-twice", [("graft.preprocess", '{"size": [32, 32], "size": [64, 64]}')]
    yield "pre-deep", [("graft.preprocess", "[" * 500000)]
    yield "labels-open", [("graft.labels", '["a", "b"')]
    yield "labels-numbers", [("graft.labels", "[1, 2, 3, 4]")]
    yield "labels-deep", [("graft.labels", "[" * 100000 + "]" * 100000)]
    yield "labels-zero-byte", [("graft.labels", '["a\\u0000b", "c", "d", "e"]')]
    yield "names-open", [("names", "{0: 'a, 1: 'b'}")]
    yield "names-index", [("names", "{99999999999: 'a'}")]


def add(s):
    backbone = s.golden("e2e/backbone.onnx")
    s.put("models/backbone.onnx", backbone)
    s.put("models/good.onnx", around([node("Relu", "x", "y")]))
    s.put("models/data.bin", bytes(40))
    for name, target in (("link.bin", b"../pictures/good.bmp"), ("zero.bin", b"/dev/zero")):
        os.symlink(target, s.path("models/" + name))
    os.mkfifo(s.path("models/fifo.bin"))
    os.mkdir(s.path("models/folder.bin"))

    def features(name, path, exits):
        s.case(name, "features", "in/data/single", "--from", path, "-o", "{out}/f.npy", "--img-size",
               "32", exits=exits, file=path)

    for n in truncations(backbone, 14):
        path = s.put("models/truncated-%d.onnx" % n, backbone[:n])
        s.case("onnx-truncated-%d" % n, "inspect", path, exits=[3], file=path)
    head = backbone.index(b"conv0.weightJ")  # nodes come first, then numbers
    for i in range(24):
        path = s.put("models/flip-%d.onnx" % i, flipped(backbone, s.random, 0, head))
        features("onnx-flip-%d" % i, path, [0, 2, 3])
    for i in range(6):
        path = s.put("models/flips-%d.onnx" % i, flipped(backbone, s.random, bits=2000))
        features("onnx-flips-%d" % i, path, [0, 1, 3])
    for name, data in operators():
        path = s.put("models/op-%s.onnx" % name, data)
        s.case("op-%s-inspect" % name, "inspect", path, exits=[0, 3], file=path)
        # Reflecting further than the tensor is wide has a meaning in NumPy, in ONNX none is given;
        # a batch that is its own convolution is odd, and an 8 x 8 result.
        features("op-%s" % name, path, [0, 3] if name in ("pad-reflect-far", "conv-w-input-twice") else
                 [3])
    # Odd, but there is one reading of it.
    # --img-size overrides whatever size the file declares.
    readable = ("input-negative", "input-empty", "input-huge", "input-60000", "input-batch-huge", "no-nodes", "opset-twice", "raw-and-floats")
    for name, data in structures():
        path = s.put("models/%s.onnx" % name, data)
        features("onnx-" + name, path, [0, 3] if name in readable else
                 [1, 3] if name.startswith("external") else [3])
    for name in ("external-missing", "external-fifo"):
        s.case("convert-" + name, "convert", "in/models/%s.onnx" % name, "-o", "{out}/m.onnx",
               exits=[1, 3], file=name)
    t_nodes, t_weights = tail(y="x")
    for name, props in metadata():
        path = s.put("models/meta-%s.onnx" % name, model(graph(t_nodes, t_weights), props=props))
        s.case("meta-" + name, "inspect", path, exits=[3], file=path)
    labels = '["a", "b", "c"]'
    path = s.put("models/meta-labels-3-of-4.onnx", model(graph(t_nodes, t_weights), props=[
        ("graft.labels", labels)]))
    s.case("meta-labels-3-of-4", "predict", path, "in/pictures/good.bmp", exits=[2, 3], says="3")
    path = s.put("models/meta-labels-escape.onnx", model(graph(t_nodes, t_weights), props=[
        ("graft.labels", '["\\u001b[2Ja", "\\nb", "\\tc", "\\rd"]')]))
    s.case("meta-labels-escape", "predict", path, "in/pictures/good.bmp", exits=[0, 3], file=path)
    s.case("meta-labels-escape-inspect", "inspect", path, exits=[0, 3], file=path)
    # Legal, but built to take for ever: without care 2^64 visits, or a stack as deep as the graph.
    doubling = around([node("Add", ["x" if i == 0 else "v%d" % i] * 2, "v%d" % (i + 1))
                       for i in range(64)] + [node("Identity", "v64", "y")])
    features("onnx-doubling-64", s.put("models/doubling.onnx", doubling), [0, 1, 3])
    chain = [node("Relu", "x" if i == 0 else "v%d" % i, "v%d" % (i + 1)) for i in range(5000)]
    last = [node("Identity", "v5000", "y")]
    features("onnx-chain", s.put("models/chain.onnx", around(chain + last)), [0, 3])
    features("onnx-chain-reversed", s.put("models/chain-reversed.onnx", around(last + chain[::-1])),
             [0, 3])
    nan = around([node("Conv", "x w", "y")], [const("w", [3, 3, 1, 1], float("nan"))])
    path = s.put("models/nan.onnx", nan)
    s.case("onnx-nan-train", "train", "in/data/good", "--from", path, "-o", "{out}/m.onnx", "--img-size",
           "32", exits=[1, 3, 4], says="graft: ")
    s.case("onnx-nan-predict", "predict", path, "in/pictures/good.bmp", exits=[1, 3], says="graft: ")
    var = around([node("BatchNormalization", "x a a a v", "y")], [const("a", [3]), const("v", [3], -1)])
    path = s.put("models/variance.onnx", var)
    s.case("onnx-variance-train", "train", "in/data/good", "--from", path, "-o", "{out}/m.onnx",
           "--img-size", "32", exits=[1, 3, 4], says="graft: ")
    # Things that are no files.
    os.symlink(b"loop-b.onnx", s.path("models/loop-a.onnx"))
    os.symlink(b"loop-a.onnx", s.path("models/loop-b.onnx"))
    os.mkfifo(s.path("models/fifo.onnx"))
    with open(s.path("models/hole.onnx"), "wb") as f:
        f.truncate(16 << 30)
    for name, path in (("zero", "/dev/zero"), ("null", "/dev/null"), ("folder", "in/models/folder.bin"),
                       ("fifo", "in/models/fifo.onnx"), ("missing", "in/models/no.onnx"),
                       ("loop", "in/models/loop-a.onnx"), ("hole", "in/models/hole.onnx"),
                       ("memory", "/proc/self/mem"), ("picture", "in/pictures/good.bmp"),
                       ("text", s.put("models/text.onnx", b"not a model\n")),
                       ("empty", s.put("models/empty.onnx", b"")),
                       ("html", s.put("models/page.onnx", b"<!DOCTYPE html><title>404</title>")),
                       ("lfs", s.put("models/lfs.onnx", b"version https://git-lfs.github.com/spec/v1\n"))):
        s.case("model-" + name, "inspect", path, exits=[1, 3], file=path)
