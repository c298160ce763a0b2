"""Training steps as PyTorch users do them: forward, cross-entropy, backward, SGD with momentum, batch-norm
with the batch's statistics.

usage: peer_training.py usual|best ARCH BATCH whole|last|upper
usual: eager fp32, NCHW.
best:  channels_last and bf16 autocast; torch.compile where a trial finds it faster. Compiling and the
       trial are not in the time.
last:  the last stage and the classifier move; what lies below is frozen, runs without gradients and
       with stored statistics, once a step.
upper: the same, but that stage's input is given.
The weights are random: the time does not depend on them. Each job is as many steps as fit into two
seconds, five at least; its answer is their median and the process's peak memory. Where eager won the
trial that is the peak before compiling."""
import resource
import statistics
import sys
import time

import torch
from torch import nn

from harness import peer_main
from networks import CifarResNet, build

mode, arch, batch, part = sys.argv[1:]
batch = int(batch)
SIDE, CLASSES = (32, 10) if arch == "resnet20" else (224, 1000)


def split(net):
    """What graft freezes with --unfreeze 1, and what it trains."""
    if arch == "resnet20":
        return nn.Sequential(net.stem, *net.stages[:2]), nn.Sequential(net.stages[2], net.tail)
    if arch == "resnet18":
        return (nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3),
                nn.Sequential(net.layer4, net.avgpool, nn.Flatten(), net.fc))
    f = net.features  # the border lies within the block that halves the picture for the last time
    return (nn.Sequential(*f[:14], f[14].conv[0]),
            nn.Sequential(f[14].conv[1:], *f[15:], nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier))


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare():
    torch.manual_seed(0)
    net = (CifarResNet() if arch == "resnet20" else build(arch)).train()
    x, y = torch.randn(batch, 3, SIDE, SIDE), torch.randint(0, CLASSES, (batch,))
    frozen, net = split(net) if part != "whole" else (nn.Identity(), net)
    frozen.eval()
    if part == "upper":
        with torch.no_grad():
            x, frozen = frozen(x), nn.Identity()
    if mode == "best":
        frozen, net, x = (t.to(memory_format=torch.channels_last) for t in (frozen, net, x))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def step(engines):
        below, upper = engines
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "best"):
            with torch.no_grad():
                features = below(x)
            loss = loss_fn(upper(features), y)
        loss.backward()
        optimizer.step()
    return (frozen, net), step


def steps(step, engines):
    """Seconds of a step."""
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < 2:
        begin = time.perf_counter()
        step(engines)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    eager, step = prepare()
    engines, how, peak = eager, "eager fp32", None
    step(eager)
    if mode == "best":
        how, fastest, before = "channels_last, bf16 autocast, eager", steps(step, eager), peak_mib()
        try:
            below, upper = (torch.compile(e) for e in eager)
            trials = {"torch.compile": (below, upper)}
            if part == "last":
                trials["torch.compile of what is frozen"] = (below, eager[1])
            for name, trial in trials.items():
                step(trial)
                seconds = steps(step, trial)
                if seconds < fastest:
                    engines, how, fastest = trial, "channels_last, bf16 autocast, " + name, seconds
        except Exception as e:  # no compiler, no headers: whatever it is, there is another way
            print(f"torch.compile: {e!r:.200}", file=sys.stderr)
        if engines is eager:
            peak = before
    peer_main({"how": how}, lambda _: {"seconds": steps(step, engines), "mib": peak or peak_mib()})


if __name__ == "__main__":
    main()
