"""Writes grad_golden.txt: gradients that PyTorch's autograd computes in double, for
tests/ops/test_gradients.c. One block a case: its line in the language of tests/ops/op_case.h, then
`name numbers` for inputs, gradients of outputs, outputs and gradients of inputs.

usage: grad_golden.py
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
EPS = float(np.float32(1e-5))  # attributes are 32-bit
rng = np.random.default_rng(7)
out = open(os.path.join(HERE, "grad_golden.txt"), "w")


def numbers(name, t, digits=10):
    v = t.detach().numpy().ravel()
    out.write(name + "".join(f" {x:.{digits}g}" for x in v) + "\n")


def spread(shape, lo=-1.0, hi=1.0):
    """Three decimals; no two elements equal."""
    n = int(np.prod(shape))
    v = np.round(lo + (hi - lo) * (rng.permutation(n) + 0.5) / n, 3)
    return torch.tensor(v.reshape(shape), dtype=torch.float64, requires_grad=True)


def case(line, f, **inputs):
    y = f(*inputs.values())
    dy = torch.tensor(np.round(rng.uniform(-1, 1, y.shape), 2), dtype=torch.float64)
    y.backward(dy)
    out.write("case " + line + "\n")
    for x in inputs.values():
        numbers("in", x)
    numbers("dout", dy)
    numbers("out", y)
    for x in inputs.values():
        numbers("din", x.grad)


case("Conv x=2,4,5,4 w=4,2,3,2 b=4 group=2 dilations=2,1 strides=1,2 pads=2,1,2,1",
     lambda x, w, b: F.conv2d(x, w, b, groups=2, dilation=(2, 1), stride=(1, 2), padding=(2, 1)),
     x=spread((2, 4, 5, 4)), w=spread((4, 2, 3, 2)), b=spread((4,)))
case("ConvTranspose x=1,4,3,3 w=4,2,3,2 b=4 group=2 strides=2,1 pads=1,0,1,0 output_padding=1,0",
     lambda x, w, b: F.conv_transpose2d(x, w, b, groups=2, stride=(2, 1), padding=(1, 0),
                                        output_padding=(1, 0)),
     x=spread((1, 4, 3, 3)), w=spread((4, 2, 3, 2)), b=spread((4,)))
case("LayerNormalization x=3,2,5 s=5 b=5",
     lambda x, s, b: F.layer_norm(x, (5,), s, b, EPS),
     x=spread((3, 2, 5)), s=spread((5,)), b=spread((5,)))
case("GroupNormalization x=2,4,3 s=4 b=4 num_groups=2 opset=21",
     lambda x, s, b: F.group_norm(x, 2, s, b, EPS),
     x=spread((2, 4, 3)), s=spread((4,)), b=spread((4,)))
case("MaxPool x=1,2,7,6 kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
     lambda x: F.max_pool2d(x, 3, 2, 1), x=spread((1, 2, 7, 6)))
case("AveragePool x=1,2,5,6 kernel_shape=3,3 strides=2,2 pads=1,1,1,1 count_include_pad=1",
     lambda x: F.avg_pool2d(x, 3, 2, 1), x=spread((1, 2, 5, 6)))
case("Softmax x=2,3,4 axis=1", lambda x: F.softmax(x, 1), x=spread((2, 3, 4), -3, 3))
case("LogSoftmax x=3,5", lambda x: F.log_softmax(x, -1), x=spread((3, 5), -3, 3))
case("Gelu x=3,6 opset=20", F.gelu, x=spread((3, 6), -4, 4))
case("Gelu x=3,6 approximate=tanh opset=20", lambda x: F.gelu(x, approximate="tanh"),
     x=spread((3, 6), -4, 4))
case("HardSwish x=3,6", F.hardswish, x=spread((3, 6), -5, 5))
case("Mish x=3,6 opset=18", F.mish, x=spread((3, 6), -5, 5))
case("Resize x=1,2,3,4 - - I=[1,2,5,3] mode=linear",
     lambda x: F.interpolate(x, (5, 3), mode="bilinear", align_corners=False),
     x=spread((1, 2, 3, 4)))
case("Resize x=1,1,3,4 - - I=[1,1,6,7] mode=linear coordinate_transformation_mode=align_corners",
     lambda x: F.interpolate(x, (6, 7), mode="bilinear", align_corners=True),
     x=spread((1, 1, 3, 4)))
case("Resize x=1,1,4,4 - - I=[1,1,6,7] mode=cubic coordinate_transformation_mode="
     "pytorch_half_pixel",
     lambda x: F.interpolate(x, (6, 7), mode="bicubic", align_corners=False),
     x=spread((1, 1, 4, 4)))
case("Gather x=5,3 I=2,3[4,0,4,2,2,2]",
     lambda x: F.embedding(torch.tensor([[4, 0, 4], [2, 2, 2]]), x), x=spread((5, 3)))
case("LRN x=1,6,2,2 size=5 alpha=0.3 beta=0.75 bias=2",
     lambda x: F.local_response_norm(x, 5, float(np.float32(0.3)), 0.75, 2.0),
     x=spread((1, 6, 2, 2)))
case("PRelu x=2,3,4 s=3,1", lambda x, s: F.prelu(x, s.reshape(3)),
     x=spread((2, 3, 4)), s=spread((3, 1)))
case("ReduceLogSumExp x=2,3,4 axes=1", lambda x: torch.logsumexp(x, 1, keepdim=True),
     x=spread((2, 3, 4), -3, 3))
case("ReduceProd x=3,3(0,2,-3,0,0,4,1,2,3) axes=1", lambda x: torch.prod(x, 1, keepdim=True),
     x=torch.tensor([[0, 2, -3], [0, 0, 4], [1, 2, 3]], dtype=torch.float64, requires_grad=True))

# Batch-norm in training: x scale bias running_mean running_var dy, y running_mean running_var
# afterwards, dx dscale dbias.
x, s, b = spread((3, 2, 2, 3)), spread((2,)), spread((2,))
bn = torch.nn.BatchNorm2d(2, eps=1e-5, momentum=0.1).double()
with torch.no_grad():
    bn.weight.copy_(s)
    bn.bias.copy_(b)
    bn.running_mean.copy_(torch.tensor([0.25, -0.5]))
    bn.running_var.copy_(torch.tensor([1.5, 0.75]))
out.write("batchnorm 3 2 2 3\n")
for t in (x, s, b, bn.running_mean, bn.running_var):
    numbers("in", t)
y = bn(x)
dy = torch.tensor(np.round(rng.uniform(-1, 1, y.shape), 2), dtype=torch.float64)
y.backward(dy)
numbers("dout", dy)
for t in (y, bn.running_mean, bn.running_var):
    numbers("out", t)
for t in (x.grad, bn.weight.grad, bn.bias.grad):
    numbers("din", t)
out.close()
