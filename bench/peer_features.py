"""Features of a folder of pictures as PyTorch or onnxruntime users compute them.

usage: peer_features.py tutorial|best ARCH WEIGHTS FOLDER OUT
       peer_features.py onnx MEAN,STD MODEL FOLDER OUT
tutorial: eager fp32, NCHW, ImageFolder, DataLoader with 2 workers, batches of 32, torchvision
          transforms; building the network and loading its weights are in the time.
best:     channels_last, bf16, frozen torch.compile (TorchScript where that fails), the decoder and
          number of workers that a trial finds fastest. Compiling and the trial are not in the time.
onnx:     onnxruntime fp32 behind the same loader as `tutorial`.
Imports are never in the time. Writes OUT.npy and OUT.paths."""
import os
import sys
import time

import numpy as np
import torch
from torch._inductor import config as inductor
from torch.utils.data import DataLoader
from torchvision import datasets, io, transforms
from torchvision.transforms import v2

from harness import peer_main
from networks import build, without_head

mode, arch, weights, folder, out = sys.argv[1:]
BATCH = 32
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
if mode == "onnx":
    MEAN, STD = ([float(v)] * 3 for v in arch.split(","))
PIL_TF = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224),
                             transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
TENSOR_TF = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224),
                        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def decode_tensor(path):
    return io.decode_image(io.read_file(path), mode=io.ImageReadMode.RGB)


def pictures(kind="pillow", workers=2):
    if kind == "pillow":
        ds = datasets.ImageFolder(folder, PIL_TF)
    else:
        ds = datasets.ImageFolder(folder, TENSOR_TF, loader=decode_tensor)
    return ds, DataLoader(ds, batch_size=BATCH, shuffle=False, num_workers=workers)


def network():
    net = build(arch)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return without_head(net).eval()


def save(ds, features):
    np.save(out + ".npy", features)
    with open(out + ".paths", "w") as f:
        f.writelines(p + "\n" for p, _ in ds.samples)


def tutorial(_):
    start = time.perf_counter()
    net = network()
    ds, loader = pictures()
    with torch.inference_mode():
        features = torch.cat([net(x) for x, _ in loader])
    save(ds, features.numpy())
    return {"seconds": time.perf_counter() - start}


def best_engine():
    net = network().to(memory_format=torch.channels_last)
    example = torch.randn(BATCH, 3, 224, 224).to(memory_format=torch.channels_last)
    try:
        inductor.freezing = True
        engine, name = torch.compile(net), "torch.compile, frozen"
        for _ in range(3):
            engine(example)
    except Exception as e:  # no compiler, no headers: whatever it is, there is another way
        print(f"torch.compile: {e!r:.200}; TorchScript instead", file=sys.stderr)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            engine, name = torch.jit.freeze(torch.jit.trace(net, example)), "frozen TorchScript"
        for _ in range(3):
            engine(example)
    return engine, name


def forward_all(engine, loader):
    parts = []
    for x, _ in loader:
        n = len(x)
        if n < BATCH:  # a batch of another size would be compiled anew
            x = torch.cat([x, x.new_zeros(BATCH - n, *x.shape[1:])])
        parts.append(engine(x.to(memory_format=torch.channels_last))[:n].float())
    return torch.cat(parts)


def best():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        engine, name = best_engine()
        trials = {}
        for kind in ("pillow", "tensor"):
            for workers in (1, 2, 4):
                loader = pictures(kind, workers)[1]
                start = time.perf_counter()
                forward_all(engine, loader)
                trials[kind, workers] = time.perf_counter() - start
    kind, workers = min(trials, key=trials.get)

    def job(_):
        start = time.perf_counter()
        ds, loader = pictures(kind, workers)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            features = forward_all(engine, loader)
        save(ds, features.numpy())
        return {"seconds": time.perf_counter() - start}
    return {"how": f"{name}, {kind} decoder, {workers} workers"}, job


def onnx(_):
    import onnxruntime
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    ds, loader = pictures()
    features = [session.run(None, {name: x.numpy()})[0].reshape(len(x), -1) for x, _ in loader]
    save(ds, np.concatenate(features))
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(os.path.dirname(out), "inductor")
    if mode == "best":
        peer_main(*best())
    elif mode == "tutorial":
        peer_main({"how": "eager fp32"}, tutorial)
    else:
        import onnxruntime  # noqa: F401  (imports are never in the time)
        peer_main({"how": "onnxruntime"}, onnx)
