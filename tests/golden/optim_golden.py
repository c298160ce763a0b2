"""Writes optim_golden.raw: what PyTorch's optimisers, schedules and cross-entropy do.

Little-endian; the order of the fields is that of the writes below.
"""
import sys
import numpy as np
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

out = sys.argv[1] if len(sys.argv) > 1 else "."
N, STEPS = 37, 10
rng = np.random.default_rng(3)


def put(f, a, dtype=np.float32):
    np.ascontiguousarray(a, dtype).tofile(f)


with open(f"{out}/optim_golden.raw", "wb") as f:
    start = rng.choice([-1, 1], N) * rng.uniform(0.5, 1.5, N)
    grads = rng.normal(size=(STEPS, N)) * np.exp(rng.normal(size=(STEPS, 1)))
    put(f, start)
    put(f, grads)
    for make in (
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, weight_decay=0.1, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0),
    ):
        w = torch.tensor(start.astype(np.float32), requires_grad=True)
        o = make([w])
        for g in grads.astype(np.float32):
            w.grad = torch.tensor(g)
            torch.nn.utils.clip_grad_norm_([w], 5.0)
            o.step()
        put(f, w.detach().numpy())

    for make in (
        lambda o: OneCycleLR(o, max_lr=0.3, total_steps=40, pct_start=0.25, div_factor=25,
                             final_div_factor=1e5, base_momentum=0.85, max_momentum=0.95),
        lambda o: CosineAnnealingLR(o, T_max=40),
    ):
        o = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3, momentum=0.95)
        s = make(o)
        for _ in range(40):
            put(f, [o.param_groups[0]["lr"], o.param_groups[0]["momentum"]], np.float64)
            o.step()
            s.step()

    z = (rng.normal(size=(6, 5)) * 3).astype(np.float32)
    y = rng.integers(0, 5, 6)
    w = rng.uniform(0.5, 2, 5)
    soft = rng.dirichlet(np.ones(5), 6).astype(np.float32)
    put(f, z)
    put(f, y, np.int32)
    put(f, w, np.float64)
    put(f, soft)
    for target, weight, smooth in ((torch.tensor(y), torch.tensor(w), 0.1),
                                   (torch.tensor(soft).double(), None, 0.0)):
        t = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smooth)(t, target)
        loss.backward()
        put(f, [loss.item()], np.float64)
        put(f, t.grad.numpy(), np.float64)
