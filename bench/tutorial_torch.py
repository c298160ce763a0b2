#!/usr/bin/env python3
"""The job of PyTorch's transfer learning tutorial, timed: a frozen MobileNetV2, a new linear head,
25 epochs over hymenoptera. `usual` runs the backbone in every epoch, as the tutorial does; `cached`
computes the features once by hand and trains the head on them; `finetune` is `usual` with the upper
half of the network trained too, as `graft train --unfreeze 2` does it (batch-norm stays as it is), in
batches of 32. The weights are random: the time does
not depend on them. Prints as JSON the seconds from start to finished head, imports not counted, and,
for `usual`, what 25 epochs take: everything before the epochs once, the epochs in proportion.

usage: tutorial_torch.py usual|cached|finetune DATA [--epochs 25] [--channels-last]
"""
import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

ap = argparse.ArgumentParser()
ap.add_argument("mode", choices=["usual", "cached", "finetune"])
ap.add_argument("data")
ap.add_argument("--epochs", type=int, default=25)
ap.add_argument("--channels-last", action="store_true")
a = ap.parse_args()

NORM = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAIN = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(),
                            transforms.ToTensor(), NORM])
EVAL = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224),
                           transforms.ToTensor(), NORM])


def is_picture(path):
    return path.lower().endswith((".jpg", ".jpeg", ".png"))


def pictures(split, tf, shuffle):
    ds = datasets.ImageFolder(f"{a.data}/{split}", tf, is_valid_file=is_picture)
    return DataLoader(ds, batch_size=4 if a.mode == "usual" else 32, shuffle=shuffle, num_workers=2)


def put(x):
    return x.to(memory_format=torch.channels_last) if a.channels_last else x


start = time.perf_counter()
torch.manual_seed(0)
net = models.mobilenet_v2(weights=None)
for p in net.parameters():
    p.requires_grad = False
width = net.classifier[1].in_features
if a.channels_last:
    net = net.to(memory_format=torch.channels_last)
loss_fn = nn.CrossEntropyLoss()

def upper_half():
    """Weights of convolutions from the windows of features.7 on, and of the new classifier."""
    parts = [net.features[7].conv[1:], *net.features[8:]]
    convs = [m for p in parts for m in p.modules() if isinstance(m, nn.Conv2d)]
    for m in convs:
        m.weight.requires_grad = True
    return [m.weight for m in convs]


if a.mode != "cached":
    net.classifier[1] = nn.Linear(width, 2)
    moving = list(net.classifier[1].parameters()) + (upper_half() if a.mode == "finetune" else [])
    opt = torch.optim.SGD(moving, lr=0.001, momentum=0.9)
    sched = torch.optim.lr_scheduler.StepLR(opt, step_size=7, gamma=0.1)
    epochs_start = time.perf_counter()
    for epoch in range(a.epochs):
        for split in ("train", "val"):
            net.train(split == "train" and a.mode == "usual")
            for x, y in pictures(split, TRAIN if split == "train" else EVAL, split == "train"):
                with torch.set_grad_enabled(split == "train"):
                    loss = loss_fn(net(put(x)), y)
                    if split == "train":
                        opt.zero_grad()
                        loss.backward()
                        opt.step()
        sched.step()
else:
    net.classifier = nn.Identity()
    net.eval()
    data = {}
    with torch.inference_mode():
        for split in ("train", "val"):
            xy = [(net(put(x)), y) for x, y in pictures(split, EVAL, False)]
            data[split] = torch.cat([x for x, _ in xy]), torch.cat([y for _, y in xy])
    x, y = (t.clone() for t in data["train"])
    head = nn.Linear(width, 2)
    opt = torch.optim.SGD(head.parameters(), lr=0.001, momentum=0.9)
    for epoch in range(a.epochs):
        for i in torch.randperm(len(y)).split(4):
            opt.zero_grad()
            loss_fn(head(x[i]), y[i]).backward()
            opt.step()
end = time.perf_counter()
answer = {"mode": a.mode, "seconds": end - start, "epochs": a.epochs,
          "threads": torch.get_num_threads(), "torch": torch.__version__}
if a.mode != "cached":
    answer["seconds_25"] = epochs_start - start + (end - epochs_start) * 25 / a.epochs
print(json.dumps(answer))
