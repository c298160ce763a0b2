"""Writes encoder_*.onnx, small transformer encoders as PyTorch exports them, and encoder_golden.txt:
what PyTorch computes in double when they are trained for ten steps, for test_train_golden.c. The
files hold no weights: these are inputs of the graph, filled by the formula of zoo_golden.py.

usage: encoder_golden.py
"""
import io
import os

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from train_golden import BATCH, STEPS, summary
from zoo_golden import HERE, make, uniform

CLASSES = 10
WIDTH, HEADS, LAYERS, TOKENS, WORDS = 48, 4, 2, 12, 40


class Block(nn.Module):
    """Pre-norm, one product for queries, keys and values, as in ViT."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x, mask=None):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        a = (q * (d // HEADS) ** -0.5) @ k.transpose(-2, -1)
        if mask is not None:
            a = a.masked_fill(mask, -1e4)
        y = (a.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """16x16 pictures in patches of 4x4; the class token's vector or the mean of all is read."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position = nn.Parameter(torch.zeros(1, 17, WIDTH))
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.position
        for b in self.blocks:
            x = b(x)
        return self.head(self.norm(x).mean(1) if self.mean else self.norm(x)[:, 0])


class Text(nn.Module):
    """Word numbers, 0 to be ignored, and a learned position; the mean of the words is read."""

    def __init__(self):
        super().__init__()
        self.word, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        x = self.word(ids) + self.place(torch.arange(TOKENS))
        mask = (ids == 0)[:, None, None, :]
        for b in self.blocks:
            x = b(x, mask)
        used = (ids != 0)[:, :, None].to(x.dtype)
        return self.head((self.norm(x) * used).sum(1) / used.sum(1))


class Layers(nn.Module):
    """PyTorch's own encoder layers, which split queries, keys and values in their way."""

    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True,
                                           norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH),
                                             enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        x = self.encoder(self.word(ids), src_key_padding_mask=ids == 0)
        return self.head(x[:, 0])


def export(net, x, opset, fold):
    """The exporter's graph, each weight made an input; by whose name of it each weight goes, and
    whether it was turned round."""
    for i, p in enumerate(net.parameters()):  # no two alike, so that they are known again
        p.data = torch.from_numpy(uniform("export%d" % i, p.numel()).astype(np.float32)
                                  .reshape(p.shape)) + 0.5
    data = io.BytesIO()
    torch.onnx.export(net, (x,), data, opset_version=opset, do_constant_folding=fold,
                      training=torch.onnx.TrainingMode.TRAINING, input_names=["x"],
                      output_names=["logits"], dynamo=False)
    model = onnx.load_from_string(data.getvalue())
    model.producer_version = ""
    for n in model.graph.node:
        n.ClearField("doc_string")
    names, left = {}, []
    for t in model.graph.initializer:
        a = numpy_helper.to_array(t)
        found = [(p, turned) for p in net.parameters() for turned in (False, True)
                 if np.array_equal(a, p.data.T if turned else p.data)] if a.ndim else []
        if found:
            names[t.name] = found[0]
            model.graph.input.append(helper.make_tensor_value_info(t.name, TensorProto.FLOAT,
                                                                   a.shape))
        else:
            left.append(t)
    assert len(names) == len(list(net.parameters()))
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)
    return model, names


def train(f, net, x, names, rate):
    for name, (p, turned) in names.items():
        p.data = make(name, tuple(p.shape)[::-1] if turned else tuple(p.shape))
        p.data = (p.data.T if turned else p.data).double()
    net.double()
    x = x.double() if x.is_floating_point() else x
    y = torch.arange(BATCH) * 3 % CLASSES
    sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    losses = []
    for step in range(STEPS):
        sgd.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        losses.append(loss.item())
        for name, (p, turned) in names.items() if step == 0 else ():
            values = summary(p.grad.T if turned else p.grad)
            f.write("%s %s\n" % (name, " ".join("%.9g" % v for v in values)))
        sgd.step()
    f.write("losses %s\n" % " ".join("%.9g" % v for v in losses))
    return losses


def main():
    picture = torch.from_numpy(2 * uniform("input", BATCH * 3 * 16 * 16) - 1).float()
    picture = picture.reshape(BATCH, 3, 16, 16)
    words = torch.from_numpy((uniform("input", BATCH * TOKENS) * WORDS).astype(np.int64))
    words = words.reshape(BATCH, TOKENS)
    for i in range(BATCH):
        words[i, TOKENS - i:] = 0  # shorter and shorter
    with open(os.path.join(HERE, "encoder_golden.txt"), "w") as f:
        for title, net, x, opset, fold, rate in (
                ("vit11", Vit(False), picture, 11, False, 1e-2),
                ("vit17", Vit(True), picture, 17, True, 1e-2),
                ("text14", Text(), words, 14, True, 1e-2),
                ("text20", Text(), words, 20, True, 1e-2),
                ("layers17", Layers(), words, 17, True, 1e-2)):
            net.train()
            model, names = export(net, x, opset, fold)
            onnx.checker.check_model(model, full_check=True)
            with open(os.path.join(HERE, "encoder_%s.onnx" % title), "wb") as file:
                file.write(model.SerializeToString(deterministic=True))
            f.write("net encoder_%s.onnx %g %d\n" % (title, rate, len(names)))
            losses = train(f, net, x, names, rate)
            ops = sorted({n.op_type for n in model.graph.node})
            print(title, len(model.graph.node), " ".join(ops), np.round(losses, 4), sep="\n")


if __name__ == "__main__":
    main()
