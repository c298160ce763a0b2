"""Training steps as PyTorch users do them: forward, cross-entropy, backward, SGD with momentum, batch-norm
with the batch's statistics.

usage: peer_training.py usual|best ARCH BATCH whole|last
usual: eager fp32, NCHW.
best:  channels_last and bf16 autocast; torch.compile where a trial finds it faster. Compiling and the
       trial are not in the time.
last:  the last stage and the classifier, from that stage's input on: what is frozen below is no part
       of the step.
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
    if part == "last":
        frozen, net = split(net)
        with torch.no_grad():
            x = frozen(x)
    if mode == "best":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def step(engine):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "best"):
            loss = loss_fn(engine(x), y)
        loss.backward()
        optimizer.step()
    return net, step


def steps(step, engine):
    """Seconds of a step."""
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < 2:
        begin = time.perf_counter()
        step(engine)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    net, step = prepare()
    engine, how, peak = net, "eager fp32", None
    step(net)
    if mode == "best":
        how = "channels_last, bf16 autocast, eager"
        eager, before = steps(step, net), peak_mib()
        try:
            compiled = torch.compile(net)
            step(compiled)
            if steps(step, compiled) < eager:
                engine, how = compiled, "channels_last, bf16 autocast, torch.compile"
        except Exception as e:  # no compiler, no headers: whatever it is, there is another way
            print(f"torch.compile: {e!r:.200}", file=sys.stderr)
        if engine is net:
            peak = before
    peer_main({"how": how}, lambda _: {"seconds": steps(step, engine), "mib": peak or peak_mib()})


if __name__ == "__main__":
    main()
