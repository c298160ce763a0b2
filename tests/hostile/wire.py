"""ONNX files by hand: protobuf's wire format and the few messages that the hostile models use. Nothing
is checked here: wrong models are the purpose."""
import struct

FLOAT, UINT8, INT64, STRING, BOOL, DOUBLE = 1, 2, 7, 8, 9, 11
INPUT = (None, 3, 32, 32)


def varint(v):
    v &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append(v & 0x7F | (0x80 if v > 0x7F else 0))
        v >>= 7
        if not v:
            return bytes(out)


def num(field, v):
    return varint(field << 3) + varint(v)


def msg(field, data):
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def f32(field, v):
    return varint(field << 3 | 5) + struct.pack("<f", v)


def floats(*v):
    return struct.pack("<%df" % len(v), *v)


def ints(*v):
    return b"".join(struct.pack("<q", i) if -2**63 <= i < 2**63 else struct.pack("<Q", i) for i in v)


def tensor(name, dims, dtype=FLOAT, raw=None, more=b""):
    out = b"".join(num(1, d) for d in dims) + num(2, dtype) + msg(8, name)
    return out + (msg(9, raw) if raw is not None else b"") + more


def const(name, dims, fill=0.01):
    n = 1
    for d in dims:
        n *= d
    return tensor(name, dims, raw=floats(*[fill] * n))


def const_ints(name, *v):
    return tensor(name, [len(v)], INT64, ints(*v))


def external(name, dims, **entries):
    return tensor(name, dims, more=num(14, 1) + b"".join(
        msg(13, msg(1, k) + msg(2, str(v))) for k, v in entries.items()))


class T(bytes):
    """A tensor as an attribute."""


class G(bytes):
    """A graph as an attribute."""


def attr(name, v, kind=None):
    out = msg(1, name)
    if isinstance(v, T):
        out, k = out + msg(5, v), 4
    elif isinstance(v, G):
        out, k = out + msg(6, v), 5
    elif isinstance(v, (bytes, str)):
        out, k = out + msg(4, v), 3
    elif isinstance(v, float):
        out, k = out + f32(2, v), 1
    elif isinstance(v, int):
        out, k = out + num(3, v), 2
    elif v and isinstance(v[0], float):
        out, k = out + b"".join(f32(7, i) for i in v), 6
    elif v and isinstance(v[0], str):
        out, k = out + b"".join(msg(9, i) for i in v), 8
    else:
        out, k = out + b"".join(num(8, i) for i in v), 7
    return out + num(20, k if kind is None else kind)


def node(op, ins, outs, name=None, domain="", more=b"", **attrs):
    split = lambda v: v.split() if isinstance(v, str) else v
    out = b"".join(msg(1, i) for i in split(ins)) + b"".join(msg(2, o) for o in split(outs))
    out += msg(3, op + "_" + str(split(outs)[0]) if name is None else name) + msg(4, op)
    out += b"".join(msg(5, attr(k, v)) for k, v in attrs.items()) + more
    return out + (msg(7, domain) if domain else b"")


def info(name, dims, elem=FLOAT):
    if dims is None:
        return msg(1, name)
    shape = b"".join(msg(1, msg(2, d) if isinstance(d, str) else b"" if d is None else num(1, d))
                     for d in dims)
    return msg(1, name) + msg(2, msg(1, num(1, elem) + msg(2, shape)))


def graph(nodes, weights=(), inputs=None, outputs=None, more=b""):
    out = b"".join(msg(1, n) for n in nodes) + msg(2, "g")
    out += b"".join(msg(5, w) for w in weights)
    out += b"".join(msg(11, i) for i in ([info("x", INPUT)] if inputs is None else inputs))
    out += b"".join(msg(12, o) for o in ([info("scores", (None, 4))] if outputs is None else outputs))
    return out + more


def model(g, opset=13, ir=8, props=(), more=b""):
    out = num(1, ir) + msg(2, "hand") + msg(7, g)
    if opset is not None:
        out += msg(8, msg(1, "") + num(2, opset))
    return out + b"".join(msg(14, msg(1, k) + msg(2, v)) for k, v in props) + more


def tail(channels=3, y="y"):
    """From y (N,channels,h,w) to four scores: nodes and weights."""
    return ([node("GlobalAveragePool", y, "pooled"), node("Flatten", "pooled", "flat"),
             node("Gemm", "flat head_w head_b", "scores", transB=1)],
            [const("head_w", [4, channels]), const("head_b", [4])])


def around(nodes, weights=(), channels=3, opset=13, **more):
    """A model whose body turns x (N,3,32,32) into y."""
    t_nodes, t_weights = tail(channels)
    return model(graph(list(nodes) + t_nodes, list(weights) + t_weights, **more), opset=opset)
