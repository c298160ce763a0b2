#!/usr/bin/env python3
"""Writes tests/golden/weights_files/ and weights_expected.tsv: small files of torch.save and
safetensors with every element that a reader must find. Needs torch, safetensors, numpy."""
import collections, os, pickle, sys, types, zipfile
import numpy, safetensors.torch, torch
from torch import nn

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, "weights_files")
os.makedirs(out, exist_ok=True)
torch.manual_seed(7)
expected = []


def expect(file, tensors):
    for name, t in tensors.items():
        values = t.detach().double().flatten().tolist()
        expected.append("\t".join([file, name, str(t.dtype).replace("torch.", ""),
                                   ",".join(map(str, t.shape)),
                                   " ".join(float(v).hex() for v in values)]))


def save(file, obj, tensors, **kw):
    torch.save(obj, os.path.join(out, file), **kw)
    expect(file, tensors)


def ordered(**kw):
    return collections.OrderedDict(kw)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.register_buffer("scratch", torch.ones(2), persistent=False)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.fc = nn.Linear(2, 3, bias=False)
        self.scale = nn.Parameter(torch.tensor([1.5]))


Net.__module__ = Block.__module__ = "example.nets"
module = types.ModuleType("example.nets")
module.Net, module.Block = Net, Block
sys.modules["example"] = types.ModuleType("example")
sys.modules["example.nets"] = module

net = Net()
net.block.bn.running_mean.copy_(torch.tensor([0.25, -3.0]))
sd = net.state_dict()
# the old stream carries the source of each class; a line of it will do
torch.serialization.get_source_lines_and_file = lambda obj, msg=None: (["class\n"], 0, "nets.py")
old = dict(_use_new_zipfile_serialization=False)

save("plain.pth", sd, sd)
save("plain_stream.pth", sd, sd, **old)
save("protocol4.pth", sd, sd, pickle_protocol=4)
save("nested.pth", {"epoch": 90, "arch": "tiny", "best_prec1": 91.5, "state_dict": sd,
                    "best_acc1": torch.tensor(91.5), "optimizer": {"state": {0: {"momentum": torch.ones(3)}}}}, sd)
save("ema.pth", {"ema": {"state_dict": {k: v * 2 for k, v in sd.items()}}, "model": sd}, sd)
save("parallel.pth", {"state_dict": nn.DataParallel(net).state_dict()}, sd)
save("compiled_stream.pth", {"module._orig_mod." + k: v for k, v in sd.items()}, sd, **old)
save("module.pth", net, sd)
save("module_protocol4.pth", {"model": nn.DataParallel(net), "epoch": 3}, sd, pickle_protocol=4)
save("module_stream.pth", net, sd, **old)

base = torch.arange(24, dtype=torch.float32)
views = ordered(whole=base, shifted=base[5:11].view(2, 3), turned=base.view(4, 6).t(),
                every=base[1::5], spread=base[:1].expand(2, 3), scalar=base[7],
                empty=base[:0], channels=base.view(1, 2, 3, 4).to(memory_format=torch.channels_last),
                tied=base)
save("views.pth", views, views)
save("views_stream.pth", views, views, **old)

types_ = ordered(f32=torch.tensor([1.5, -2.0]), f16=torch.tensor([1.5, 65504.0]).half(),
                 f64=torch.tensor([1e300, 0.1], dtype=torch.float64),
                 bf16=torch.tensor([1.5, -3e38]).bfloat16(),
                 i64=torch.tensor([-2**40, 7]), i32=torch.tensor([-2**31, 7], dtype=torch.int32),
                 i16=torch.tensor([-300, 7], dtype=torch.int16),
                 i8=torch.tensor([-128, 7], dtype=torch.int8),
                 u8=torch.tensor([255, 7], dtype=torch.uint8), flag=torch.tensor([True, False]))
save("types.pth", types_, types_)
save("types_stream.pth", types_, types_, **old)
wide = ordered(u16=torch.tensor([65535, 7], dtype=torch.uint16),
               u32=torch.tensor([2**32 - 1, 7], dtype=torch.uint32))
save("types_untyped.pth", wide, wide)
params = ordered(weight=nn.Parameter(torch.tensor([[1.0, 2.0]])))
params["weight"].comment = "kept as state"
save("parameter.pth", params, params)


def rezip(src, dst, method, edit=lambda name, data: data):
    with zipfile.ZipFile(os.path.join(out, src)) as a, \
            zipfile.ZipFile(os.path.join(out, dst), "w", method) as b:
        for name in a.namelist():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            b.writestr(info, edit(name, a.read(name)))


rezip("plain.pth", "deflated.pth", zipfile.ZIP_DEFLATED)
expect("deflated.pth", sd)
one = ordered(w=torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
save("one.pth", one, one)
rezip("one.pth", "big_endian.pth", zipfile.ZIP_STORED,
      lambda name, data: b"big" if name.endswith("byteorder") else
      numpy.frombuffer(data, "<f4").astype(">f4").tobytes() if "/data/" in name else data)
expect("big_endian.pth", one)
save("one_stream.pth", one, one, **old)


# What must be refused.
class Evil:
    def __reduce__(self):
        return os.system, ("echo run > weights_evil_ran",)


torch.save({"fc.weight": Evil(), "fc.bias": torch.ones(1)}, os.path.join(out, "bad_evil.pth"))
torch.save({"state_dict": one, "hook": Evil()}, os.path.join(out, "evil_beside.pth"))
expect("evil_beside.pth", one)
torch.save({"a": Evil(), "b": 2}, os.path.join(out, "bad_evil_only.pth"))
torch.save(ordered(w=torch.eye(3).to_sparse()), os.path.join(out, "bad_sparse.pth"))
torch.save(ordered(w=torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
           os.path.join(out, "bad_quantized.pth"))
torch.save(ordered(w=torch.ones(2, dtype=torch.complex64)), os.path.join(out, "bad_complex.pth"))
torch.save([torch.ones(2)], os.path.join(out, "bad_list.pth"))
with open(os.path.join(out, "bad_plain.pkl"), "wb") as f:
    pickle.dump({"w": [1.0]}, f)
with zipfile.ZipFile(os.path.join(out, "bad_script.pt"), "w") as z:  # as torch.jit.save lays it out
    for name in "data.pkl", "code/__torch__.py", "constants.pkl", "version":
        z.writestr(zipfile.ZipInfo("net/" + name), b"\x80\x02).")

# safetensors
st = lambda file, tensors, **kw: (safetensors.torch.save_file(
    tensors, os.path.join(out, file), **kw), expect(file, tensors))
st("types.safetensors", {**types_, **wide}, metadata={"format": "pt", "who": "graft"})
st("one.safetensors", dict(one))
st("shard-00001-of-00002.safetensors", {"a.weight": torch.tensor([1.0, 2.0])})
st("shard-00002-of-00002.safetensors", {"b.weight": torch.tensor([[3.0]])})
with open(os.path.join(out, "shard.safetensors.index.json"), "w") as f:
    f.write('{"metadata": {"total_size": 12}, "weight_map": {'
            '"a.weight": "shard-00001-of-00002.safetensors",'
            ' "b.weight": "shard-00002-of-00002.safetensors"}}\n')
expect("shard.safetensors.index.json", {"a.weight": torch.tensor([1.0, 2.0]),
                                        "b.weight": torch.tensor([[3.0]])})

numpy.save(os.path.join(out, "array.npy"), numpy.arange(6, dtype="<f4").reshape(2, 3))

with open(os.path.join(here, "weights_expected.tsv"), "w") as f:
    f.write("\n".join(expected) + "\n")
