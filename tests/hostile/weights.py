"""Hostile PyTorch and safetensors files."""
import io
import json
import struct
import zipfile

from suite import flipped, truncations

MAX = 2**63 - 1


# ---- pickles, opcode by opcode ------------------------------------------------------------------

def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def integer(v):
    if -2**31 <= v < 2**31:
        return b"J" + struct.pack("<i", v)
    b = v.to_bytes((v.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(b)]) + b


def many(*items):
    return b"(" + b"".join(items) + b"t"


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def storage(key="0", n=4, kind="FloatStorage"):
    return many(text("storage"), glob("torch", kind), text(key), text("cpu"), integer(n)) + b"Q"


def tensor(size=(2, 2), stride=(2, 1), offset=0, **a):
    return (glob("torch._utils", "_rebuild_tensor_v2") +
            many(storage(**a), integer(offset), many(*map(integer, size)), many(*map(integer, stride)),
                 b"\x89", glob("collections", "OrderedDict") + b")R") + b"R")


def state(**tensors):
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in tensors.items()) + b"u."


def archive(pickle, data=None, method=zipfile.ZIP_STORED, more=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in [("m/data.pkl", pickle), ("m/version", b"3\n")] + [
                ("m/data/" + k, v) for k, v in (data or {"0": bytes(16)}).items()] + list(more):
            z.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def patched(data, signature, offset, value):
    at = data.index(signature) + offset
    return data[:at] + value + data[at + len(value):]


def pickles():
    one = lambda **a: state(w=tensor(**a))
    yield "size-lies", one(n=1 << 40)
    yield "size-negative", one(n=-4)
    yield "size-larger", one(size=(2, 3), stride=(3, 1))
    yield "shape-huge", one(size=(2**31, 2**31), stride=(1, 1))
    yield "shape-overflow", one(size=(MAX, MAX), stride=(MAX, 1))
    yield "shape-negative", one(size=(-2, 2))
    yield "shape-rank-9", one(size=(1,) * 9, stride=(1,) * 9)
    yield "stride-huge", one(stride=(MAX, 1))
    yield "stride-negative", one(stride=(-2, 1))
    yield "stride-rank", one(stride=(1,))
    yield "stride-0-bomb", one(size=(2**20, 2**20), stride=(0, 0))
    yield "stride-0-half", one(size=(2**15, 2**15), stride=(0, 1))
    yield "stride-wrap", one(size=(3, 2), stride=(2**63 - 2, 1))
    yield "offset-negative", one(offset=-1)
    yield "offset-beyond", one(offset=1)
    yield "offset-max", one(offset=MAX)
    yield "storage-missing", one(key="77")
    yield "storage-up", one(key="../../../etc/passwd")
    yield "storage-kind", one(kind="system")
    yield "storage-no-text", state(w=many(integer(1)) + b"Q")
    run = glob("os", "system") + many(text("touch hostile-was-run")) + b"R"
    yield "os-system", b"\x80\x02" + run + b"."
    yield "os-system-only-value", state(w=run)
    yield "eval", b"\x80\x02" + glob("builtins", "eval") + many(text("1+1")) + b"R."
    yield "list-in-itself", b"\x80\x02]q\x00h\x00a."
    yield "dict-in-itself", b"\x80\x02}q\x00" + text("a") + b"h\x00s."
    yield "tuple-deep", b"\x80\x02)" + b"\x85" * 1000000 + b"."
    yield "mark-deep", b"\x80\x02" + b"(" * 1000000 + b"t" * 1000000 + b"."
    yield "dict-deep", b"\x80\x02" + (b"}" + text("a")) * 100000 + b"N" + b"s" * 100000 + b"."
    yield "list-doubling", b"\x80\x02]" + b"2\x86" * 64 + b"."
    yield "dict-doubling", (b"\x80\x02}q\x00" + b"".join(
        b"}q" + bytes([i + 1]) + b"(" + b"".join(text(k) + b"h" + bytes([i]) for k in "ab") + b"u"
        for i in range(64)) + b".")
    yield "memo-huge", b"\x80\x02Nr\xff\xff\xff\xff."
    yield "memo-missing", b"\x80\x02h\x07."
    yield "long-huge", b"\x80\x02\x8b\xff\xff\xff\x7f."
    yield "long-megabyte", b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b"."
    yield "long-negative", b"\x80\x02\x8b\xff\xff\xff\xff."
    yield "string-huge", b"\x80\x02X\xff\xff\xff\xffa."
    yield "bytes-2^60", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"a."
    yield "frame-lies", b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N."
    yield "stack-empty", b"\x80\x02aaaa."
    yield "stop-missing", b"\x80\x02N"
    yield "protocol-0", b"(dp0\n."
    yield "protocol-99", b"\x80\x63N."
    yield "name-escape", state(**{"\033[2J\n": tensor(offset=9)})
    yield "name-long", state(**{"w" * 1000000: tensor()})
    yield "persid-none", b"\x80\x02Q."
    yield "reduce-int", b"\x80\x02" + integer(3) + b")R."
    yield "nothing", b""


def archives():
    good = state(w=tensor())
    z = archive(good)
    yield "nothing-inside", archive(b"", {}, more=())[:0] + b"PK\5\6" + bytes(18)
    yield "only-local", b"PK\3\4" + bytes(200)
    yield "no-pickle", patched(patched(z, b"data.pkl", 0, b"atad.pkl"), b"data.pkl", 0, b"atad.pkl")
    yield "offset-beyond", patched(z, b"PK\1\2", 42, b"\xff\xff\xff\x7f")
    yield "size-lies", patched(z, b"PK\1\2", 20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f")
    yield "count-lies", patched(z, b"PK\5\6", 8, b"\xff\xff\xff\xff")
    yield "directory-size", patched(z, b"PK\5\6", 12, b"\xff\xff\xff\xff")
    yield "directory-offset", patched(z, b"PK\5\6", 16, b"\xff\xff\xff\x7f")
    yield "method-99", patched(z, b"PK\1\2", 10, b"\x63\0")
    yield "encrypted", patched(z, b"PK\1\2", 8, b"\1\0")
    yield "name-beyond", patched(z, b"PK\1\2", 28, b"\xff\xff")
    yield "zip64-lies", z[:-22] + b"PK\6\7" + bytes(4) + struct.pack("<QI", 2**63, 1) + z[-22:]
    bomb = archive(state(w=tensor(n=1 << 28, size=(1 << 28,), stride=(1,))), {"0": bytes(1 << 27)},
                   zipfile.ZIP_DEFLATED)
    yield "bomb", bomb
    yield "bomb-pickle", archive(b"\x80\x02" + b"N0" * (60 << 20) + b"N.", None, zipfile.ZIP_DEFLATED)
    d = archive(good, None, zipfile.ZIP_DEFLATED)
    yield "deflate-size-lies", patched(d, b"PK\1\2", 24, b"\xff\xff\xff\x7f")
    yield "deflate-garbage", d[:40] + b"\xa5" * 40 + d[80:]
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as f:
        import warnings
        warnings.simplefilter("ignore")
        for content in (good, b"\x80\x02N."):
            f.writestr(zipfile.ZipInfo("m/data.pkl"), content)
    yield "twice", twice.getvalue()


# ---- safetensors --------------------------------------------------------------------------------

def safe(header, data=bytes(16), n=None):
    h = json.dumps(header) if isinstance(header, dict) else header
    h = h.encode() if isinstance(h, str) else h
    return struct.pack("<Q", len(h) if n is None else n) + h + data


def safes():
    t = lambda shape=(2, 2), at=(0, 16), dtype="F32": dict(dtype=dtype, shape=list(shape),
                                                            data_offsets=list(at))
    one = lambda *a, **k: safe({"w": t(*a, **k)})
    yield "length-huge", safe({"w": t()}, n=2**63)
    yield "length-max", safe({"w": t()}, n=2**64 - 1)
    yield "length-short", safe({"w": t()}, n=20)
    yield "length-0", safe({"w": t()}, n=0)
    yield "length-all", safe("{" + " " * 100, b"")
    yield "offsets-beyond", one(at=(0, 17))
    yield "offsets-backwards", one(at=(16, 0))
    yield "offsets-huge", one(at=(0, 2**63))
    yield "offsets-1e30", safe('{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,1e30]}}')
    yield "offsets-digits", safe('{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,%s]}}' % ("9" * 5000))
    yield "offsets-overlap", safe({"a": t(), "b": t()})
    yield "offsets-negative", one(at=(-16, 0))
    yield "offsets-three", one(at=(0, 8, 16))
    yield "offsets-hole", safe({"a": t((2,), (0, 8)), "b": t((1,), (12, 16))})
    yield "shape-huge", one(shape=(2**62, 4))
    yield "shape-negative", one(shape=(-2, -2))
    yield "shape-other", one(shape=(3, 3))
    yield "shape-rank-9", one(shape=(1,) * 7 + (2, 2))
    yield "shape-float", safe('{"w":{"dtype":"F32","shape":[2.0,2],"data_offsets":[0,16]}}')
    yield "dtype", one(dtype="F33")
    yield "dtype-number", one(dtype=32)
    yield "twice", safe('{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
                        '"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}')
    yield "deep", safe('{"w":' + "[" * 200000 + "]" * 200000 + "}")
    yield "deep-objects", safe('{"a":' * 100000 + "1" + "}" * 100000)
    yield "open", safe('{"w":{"dtype":"F32","shape":[2,2')
    yield "list", safe("[]")
    yield "zero-byte", safe('{"w\\u0000x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}')
    yield "name-escape", safe('{"\\u001b[2J\\n":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}')
    yield "not-utf8", safe(b'{"\xff\xfe":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}')
    yield "many-empty", safe({"w%d" % i: t((0,), (0, 0)) for i in range(100000)}, b"")
    # Names of a known network, shapes that are none.
    names = ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"]
    for layer in (1, 2, 3):
        for i in range(3):
            for k in (1, 2):
                at = "layer%d.%d." % (layer, i)
                names += [at + "conv%d.weight" % k] + [at + "bn%d.%s" % (k, f) for f in (
                    "weight", "bias", "running_mean", "running_var")]
    names += ["linear.weight", "linear.bias"]
    for kind, shape, size in (("empty", (0,), 0), ("empty-4", (0, 3, 3, 3), 0), ("scalar", (), 4),
                              ("wide", (0, 2**40, 3, 3), 0), ("one", (1, 1, 1, 1), 4)):
        yield "resnet-" + kind, safe({k: t(shape, (i * size, (i + 1) * size))
                                      for i, k in enumerate(names)}, bytes(size * len(names)))
    for prefix, n in (("features.0.0.weight", 4000), ("layer1.%d.conv1.weight", 50000)):
        yield "names-%d" % n, safe({(prefix % i if "%" in prefix else prefix + str(i)): t((0,), (0, 0))
                                    for i in range(n)}, b"")


def add(s):
    def inspect(name, path):
        s.case(name, "inspect", path, exits=[3], file=path)

    for name in ("plain.pth", "plain_stream.pth", "module.pth", "types.safetensors"):
        real = s.golden("golden/weights_files/" + name)
        stem = name.replace(".", "-")
        for n in truncations(real, 6):
            inspect("weights-%s-%d" % (stem, n), s.put("weights/%d-%s" % (n, name), real[:n]))
        for i in range(5):
            inspect("weights-%s-flip-%d" % (stem, i),
                    s.put("weights/flip-%d-%s" % (i, name), flipped(real, s.random, bits=1 + i)))
    for name in ("bad_evil.pth", "bad_evil_only.pth", "bad_script.pt", "bad_plain.pkl"):
        inspect("weights-" + name.replace(".", "-"),
                s.put("weights/" + name, s.golden("golden/weights_files/" + name)))
    for name, data in pickles():
        inspect("pickle-" + name, s.put("weights/pickle-%s.pth" % name, archive(data)))
    old = s.golden("golden/weights_files/one_stream.pth")
    for name, data in pickles():  # the older stream starts with three small pickles
        if name in ("os-system", "tuple-deep", "list-in-itself", "memo-huge", "string-huge"):
            start = old.index(b".", old.index(b"little_endian")) + 1
            inspect("stream-" + name, s.put("weights/stream-%s.pth" % name, old[:start] + data))
    for name, data in archives():
        inspect("zip-" + name, s.put("weights/zip-%s.pth" % name, data))
    for name, data in safes():
        inspect("safetensors-" + name, s.put("weights/%s.safetensors" % name, data))
    for name, entry in (("up", "../pictures/good.bmp"), ("absolute", "/etc/passwd"), ("missing", "no.safetensors"),
                        ("itself", "index-itself.json"), ("number", 7)):
        path = s.put("weights/index-%s.json" % name, json.dumps({"weight_map": {"w": entry}}).encode())
        s.case("index-" + name, "inspect", path, exits=[1, 3],
               file=entry if name == "missing" else path)
