#!/usr/bin/env python3
"""Does PEFT load the adapter that graft wrote, and is pointwise.onnx with it the merged network?

Needs torch and peft. The network of make_backbone.py is built as a torch module with the same
names and weights; PeftModel.from_pretrained puts the adapter of OUT.onnx.run onto it, and its
features must be those of OUT.onnx. With --names it prints what PEFT itself saves for such an adapter:
that is pointwise_peft.txt, which the test `lora` compares with graft's file wherever it runs.
Run by hand with peft 0.21.2 and torch 2.15: largest difference 1.4e-06
(without the adapter 0.75).

usage: check_peft.py pointwise.onnx OUT.onnx | --names pointwise.onnx RANK
"""
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import nn

MODULES = ["conv1", "conv2", "neck.1.proj"]


class Proj(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(64, 48, bias=False)

    def forward(self, x):
        return self.proj(x)


class Net(nn.Module):
    def __init__(self, path):
        super().__init__()
        w = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
             for t in onnx.load(path).graph.initializer}
        self.conv0 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.depth1 = nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False)
        self.conv1 = nn.Conv2d(16, 32, 1, bias=False)
        self.depth2 = nn.Conv2d(32, 32, 3, 2, 1, groups=32, bias=False)
        self.conv2 = nn.Conv2d(32, 64, 1, bias=False)
        self.neck = nn.Sequential(nn.Identity(), Proj(), nn.ReLU())
        for i, n in enumerate((16, 32, 64)):
            bn = nn.BatchNorm2d(n)
            bn.weight.data, bn.bias.data = w[f"bn{i}.weight"], w[f"bn{i}.bias"]
            bn.running_mean, bn.running_var = w[f"bn{i}.mean"], w[f"bn{i}.var"]
            setattr(self, f"bn{i}", bn)
            getattr(self, f"conv{i}").weight.data = w[f"conv{i}.weight"]
            if i:
                getattr(self, f"depth{i}").weight.data = w[f"depth{i}.weight"]
        self.neck[1].proj.weight.data = w["onnx::MatMul_40"].T.contiguous()
        self.eval()

    def forward(self, x):
        for i in range(3):
            if i:
                x = getattr(self, f"depth{i}")(x)
            x = torch.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.neck(x.mean((2, 3)))


if sys.argv[1] == "--names":
    config = LoraConfig(r=int(sys.argv[3]), target_modules=MODULES)
    with tempfile.TemporaryDirectory() as folder:
        get_peft_model(Net(sys.argv[2]), config).save_pretrained(folder)
        with safe_open(f"{folder}/adapter_model.safetensors", "np") as f:
            for name in sorted(f.keys()):
                print(name, *f.get_slice(name).get_shape())
    sys.exit()

base = Net(sys.argv[1])
merged = onnx.load(sys.argv[2])
merged.graph.output.append(onnx.helper.make_empty_tensor_value_info("mixed_relu"))
x = np.random.default_rng(1).normal(size=(16, 3, 32, 32)).astype(np.float32)
want = onnxruntime.InferenceSession(merged.SerializeToString()).run(["mixed_relu"], {"input": x})[0]
with torch.no_grad():
    plain = base(torch.from_numpy(x)).numpy()
    adapted = PeftModel.from_pretrained(base, sys.argv[2] + ".run")
    got = adapted(torch.from_numpy(x)).numpy()
apart, moved = np.abs(got - want).max(), np.abs(plain - want).max()
print(f"PEFT's features differ from the merged network's by {apart:.1e}; without the adapter {moved:.1e}")
assert moved > 100 * apart and apart < 1e-5, (apart, moved)
