"""The jobs that graft's speed is judged by. Called by bench/run; README.md says what each row means."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile

import numpy as np

from harness import GRAFT, HERE, ROOT, WORK, Peer, Results, last_log, run, say, spread, table

DATA = os.environ["GRAFT_DATA"]
MOBILENET_ONNX = os.path.join(DATA, "weights", "mobilenet_v2_imagenet.onnx")
HALF = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]  # what MOBILENET_ONNX was trained with
NO_CACHE = ["--cache", ""]
NAMES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2",
         "vit_s16": "ViT-S/16"}


def path(*parts):
    p = os.path.join(WORK, *parts)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


def pictures(name):
    folder = path("pictures", name)
    if not os.path.isdir(folder):
        shutil.rmtree(folder + ".new", ignore_errors=True)
        with tarfile.open(os.path.join(DATA, "pictures", name + ".tar")) as t:
            t.extractall(folder + ".new", filter="data")
        os.rename(folder + ".new", folder)
    return folder


def listing(folder):
    """Sorted (class, file) of a folder per class."""
    return [(c, f) for c in sorted(os.listdir(folder)) if os.path.isdir(os.path.join(folder, c))
            for f in sorted(os.listdir(os.path.join(folder, c))) if not f.startswith(".")]


def linked(name, source, n):
    """A folder of n hard links to the pictures of `source`, class by class in turn, again and again
    under new names where there are fewer."""
    folder = path(f"{name}-{n}")
    if os.path.isdir(folder):
        return folder
    shutil.rmtree(folder + ".new", ignore_errors=True)
    by_class = {}
    for c, f in listing(source):
        by_class.setdefault(c, []).append(f)
    classes = sorted(by_class)
    for c in classes:
        os.makedirs(os.path.join(folder + ".new", c))
    for i in range(n):
        c, k = classes[i % len(classes)], i // len(classes)
        turn, which = divmod(k, len(by_class[c]))
        f = by_class[c][which]
        os.link(os.path.join(source, c, f), os.path.join(folder + ".new", c, f"{turn:03d}-{f}"))
    os.rename(folder + ".new", folder)
    return folder


def torch_weights(arch):
    """Seeded random weights as torchvision would save them; made once."""
    p = path("weights", arch + ".pth")
    if not os.path.exists(p):
        import torch
        from networks import build
        torch.manual_seed(0)
        net = build(arch)
        # Batch-norms that have seen pictures, or activations shrink to nothing towards the end.
        net.train()
        with torch.no_grad():
            for _ in range(8):
                net(torch.randn(16, 3, 224, 224))
        torch.save(net.state_dict(), p + ".new")
        os.replace(p + ".new", p)
    return p


def onnx_model(arch):
    """The same as ONNX: written by graft, or by PyTorch where graft knows only the exported graph."""
    if arch == "mobilenet_v2_imagenet":
        return MOBILENET_ONNX
    p = path("weights", arch + ".onnx")
    if not os.path.exists(p) and arch == "vit_s16":
        import torch
        from networks import build, export
        net = build(arch)
        net.load_state_dict(torch.load(torch_weights(arch), weights_only=True))
        export(net, p)
    elif not os.path.exists(p):
        run([GRAFT, "convert", torch_weights(arch), "-o", p])
    return p


def source_model(arch):
    """What graft reads."""
    return onnx_model(arch) if arch == "vit_s16" else torch_weights(arch)


def features_model(arch):
    """ONNX cut where graft cuts by itself, for onnxruntime."""
    p = path("weights", arch + ".features.onnx")
    if not os.path.exists(p):
        import onnx.utils
        source = onnx_model(arch)
        info = json.loads(subprocess.run([GRAFT, "inspect", "--json", source], check=True, text=True,
                                         stdout=subprocess.PIPE).stdout)
        onnx.utils.extract_model(source, p, [info["input"]], [info["features"]])
    return p


def relative_error(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def graft_features(out):
    """What `graft features` wrote, in the order of the file names."""
    x = np.load(out)
    with open(out + ".paths.txt") as f:
        names = [os.path.basename(line.split("\t")[0].rstrip("\n")) for line in f]
    return x.reshape(len(x), -1)[np.argsort(names, kind="stable")]


def peer_features(out):
    x = np.load(out + ".npy")
    with open(out + ".paths") as f:
        names = [os.path.basename(line.rstrip("\n")) for line in f]
    return x[np.argsort(names, kind="stable")]


def features_command(folder, model, out, *more):
    return [GRAFT, "features", folder, "--from", model, "-o", out, "-q", *NO_CACHE, *more]


# ---- jobs ------------------------------------------------------------------------------------------


def job_features(res, opt):
    """Features of photographs on disk."""
    folder = linked("photos", pictures("imagenet-samples-500"), opt.photos)
    out = path("out", "features")
    for arch, name in NAMES.items():
        say(f"features, {name}: PyTorch compiles and chooses its loader")
        weights = torch_weights(arch)
        tutorial = Peer("peer_features.py", "tutorial", arch, weights, folder, out + ".tutorial")
        best = Peer("peer_features.py", "best", arch, weights, folder, out + ".best")
        res.note(f"{name}, PyTorch at its best: {best.ready['how']}")
        graft = {p: lambda p=p: run(features_command(folder, source_model(arch), out + f".{p}.npy",
                                                     "--precision", p))
                 for p in ("auto", "fp32", "bf16", "int8")}
        tutorial(), best()
        truth = peer_features(out + ".tutorial")
        res.check(f"{name} PyTorch at its best against eager", relative_error(
            peer_features(out + ".best"), truth), 0.1)
        for p, limit in (("fp32", 1e-3), ("bf16", 0.05), ("auto", 0.05), ("int8", 0.2)):
            graft[p]()
            res.check(f"{name} {p} features against PyTorch eager", relative_error(
                graft_features(out + f".{p}.npy"), truth), limit)
        t = res.turns(opt.rounds, {"PyTorch tutorial": tutorial, "graft auto": graft["auto"],
                                   "PyTorch best": best, "graft fp32": graft["fp32"],
                                   "graft bf16": graft["bf16"], "graft int8": graft["int8"]})
        tutorial.close(), best.close()
        job = f"features of {opt.photos} photos, {name}"
        for p in ("auto", "fp32", "bf16", "int8"):
            for peer, target in (("PyTorch tutorial", 10), ("PyTorch best", 3.5)):
                res.row(job, p, t["graft " + p], peer, t[peer], target if p == "auto" else None)

    say("features, MobileNetV2 ONNX")
    peer = Peer("peer_features.py", "onnx", "0.5,0.5", features_model("mobilenet_v2_imagenet"), folder,
                out + ".onnx")
    graft = {p: lambda p=p: run(features_command(folder, MOBILENET_ONNX, out + f".{p}.npy",
                                                 "--precision", p, *HALF))
             for p in ("auto", "fp32", "bf16")}
    peer()
    graft["fp32"]()
    res.check("MobileNetV2 ONNX fp32 features against onnxruntime", relative_error(
        graft_features(out + ".fp32.npy"), peer_features(out + ".onnx")), 1e-3)
    t = res.turns(opt.rounds, {"peer": peer} | graft)
    peer.close()
    for p in graft:
        res.row(f"features of {opt.photos} photos, MobileNetV2 ONNX", p, t[p],
                "onnxruntime, DataLoader", t["peer"])


def bitmaps(n, side=224):
    """n different pictures, (n,h,w,3)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 8, 8, 3), np.uint8).repeat(side // 8, 1).repeat(side // 8, 2)


def graft_forward(how, arch, source, n, precision, reps, probs):
    """Seconds a picture, after warming up."""
    p = subprocess.run([path("forward"), how, onnx_model(arch), source, str(n), precision, str(reps), probs],
                       check=True, text=True, stdout=subprocess.PIPE,
                       env={"GOMP_SPINCOUNT": "2000"} | os.environ)  # as the tool sets it for itself
    return json.loads(p.stdout)["seconds"]


def centred(x):
    """Logits, or logarithms of probabilities, without the constant in which they differ."""
    x = x.astype(np.float64)
    return x - x.mean(1, keepdims=True)


def job_forward(res, opt):
    """The network alone, from arrays in memory, against onnxruntime fp32."""
    n = 32
    reps = opt.bitmaps // n
    rgb = bitmaps(n)
    for arch, name in (list(NAMES.items()) + [("mobilenet_v2_imagenet", "MobileNetV2 ONNX")]):
        say(f"forward, {name}")
        mean = (0.485, 0.456, 0.406) if arch in NAMES else (0.5, 0.5, 0.5)
        std = (0.229, 0.224, 0.225) if arch in NAMES else (0.5, 0.5, 0.5)
        x = ((rgb / 255.0 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
        inputs, raw, out = path("out", "inputs.npy"), path("out", "inputs.f32"), path("out", "forward")
        np.save(inputs, np.ascontiguousarray(x))
        np.ascontiguousarray(x).tofile(raw)
        peer = Peer("peer_forward.py", onnx_model(arch), inputs, 8, n * reps, out + ".ort.npy")
        graft = {p: lambda p=p: graft_forward("arrays", arch, raw, n, p, reps, out + f".{p}.f32")
                 for p in ("fp32", "bf16")}
        # The real weights with clipped activations suffer more from bf16 than random ones; auto
        # refuses them. The figure is timed all the same, and the error is on record.
        theirs = centred(np.load(out + ".ort.npy"))
        for p, limit in (("fp32", 1e-3), ("bf16", 0.3)):
            graft[p]()
            ours = np.log(np.fromfile(out + f".{p}.f32", np.float32)).reshape(n, -1)
            res.check(f"{name} {p} against onnxruntime, batch 8", relative_error(centred(ours), theirs),
                      limit)
        t = res.turns(opt.rounds, {"ort": lambda: peer() / (n * reps)} | graft)
        peer.close()
        for p, target in (("fp32", 1.4), ("bf16", 5)):
            res.row(f"forward, batch 8, {name}, a picture", p, t[p], "onnxruntime fp32", t["ort"],
                    target, unit="ms", scale=1000)
        forward_int8(res, opt, arch, name, inputs, n * reps)
        forward_one(res, opt, arch, name, rgb)


def int8_model(arch, inputs):
    """As onnxruntime quantises it for its fastest kernels on x86: statically, unsigned activations,
    weights by channel, with ranges from these inputs."""
    p = path("weights", arch + ".int8.onnx")
    if not os.path.exists(p):
        import onnx
        from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                              quantize_static)
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self):
                self.name = onnx.load(p + ".pre").graph.input[0].name
                self.batches = iter(np.load(inputs).reshape(-1, 8, 3, 224, 224))

            def get_next(self):
                x = next(self.batches, None)
                return None if x is None else {self.name: x}
        quant_pre_process(onnx_model(arch), p + ".pre", skip_symbolic_shape=True)
        quantize_static(p + ".pre", p + ".new", Reader(), quant_format=QuantFormat.QOperator,
                        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        os.remove(p + ".pre")
        os.replace(p + ".new", p)
    return p


def forward_int8(res, opt, arch, name, inputs, n):
    """Both with ranges of made-up input. graft: `graft bench`, as there is no file with ranges."""
    try:
        model = int8_model(arch, inputs)
    except Exception as e:
        res.note(f"{name}: onnxruntime cannot quantise it: {e}")
        return
    peer = Peer("peer_forward.py", model, inputs, 8, n, path("out", "int8.npy"))

    def graft():
        run([GRAFT, "bench", onnx_model(arch), "-b", "8", "--precision", "int8", "--json", "-q"])
        return json.loads(last_log())["seconds"] / 8
    t = res.turns(opt.rounds, {"ort": lambda: peer() / n, "int8": graft})
    peer.close()
    res.row(f"forward, batch 8, {name}, a picture", "int8", t["int8"], "onnxruntime int8", t["ort"],
            unit="ms", scale=1000)


def forward_one(res, opt, arch, name, rgb):
    if arch not in NAMES:
        return
    pixels, probs, ort_out = path("out", "one.rgb"), path("out", "probs.f32"), path("out", "one.npy")
    rgb[0].tofile(pixels)
    reps = 16 if opt.quick else 64
    peer = Peer("peer_forward.py", onnx_model(arch), path("out", "inputs.npy"), 1, reps, ort_out)

    def graft(precision):
        return graft_forward("pixels", arch, pixels, 224, precision, reps, probs)
    graft("fp32")
    logits = np.load(ort_out)[0].astype(np.float64)
    e = np.exp(logits - logits.max())
    res.check(f"{name} probabilities of one picture against onnxruntime", relative_error(
        np.fromfile(probs, np.float32), e / e.sum()), 1e-3)
    t = res.turns(opt.rounds, {"ort": lambda: peer() / reps, "fp32": lambda: graft("fp32"),
                               "bf16": lambda: graft("bf16")})
    peer.close()
    for p in ("fp32", "bf16"):
        res.row(f"one picture, warm, from pixels, {name}", p, t[p], "onnxruntime fp32", t["ort"],
                unit="ms", scale=1000)


def job_tutorial(res, opt):
    """The whole job of PyTorch's tutorial: two folders of photographs to a classifier."""
    folder, cache = pictures("hymenoptera"), path("cache-tutorial")
    model = path("out", "hymenoptera.onnx")
    epochs = 1 if opt.quick else 2

    def peer(mode, *more):
        p = subprocess.run([sys.executable, "-W", "ignore", os.path.join(HERE, "tutorial_torch.py"), mode,
                            folder, *more], check=True, text=True, stdout=subprocess.PIPE)
        a = json.loads(p.stdout.splitlines()[-1])
        return a.get("seconds_25", a["seconds"])

    def train():
        return run([GRAFT, "train", folder, "--from", MOBILENET_ONNX, *HALF, "-o", model, "-q",
                    "--cache", cache])

    def cold():
        shutil.rmtree(cache, ignore_errors=True)
        return train()
    cold()
    with open(model + ".run/metrics.json") as f:
        methods = json.load(f)["methods"]
    res.check("accuracy of the tutorial job's classifier", methods[-1]["accuracy"], 0.93, at_least=True)
    t = res.turns(opt.rounds, {"tutorial": lambda: peer("usual", "--epochs", str(epochs)), "cold": cold,
                               "cached": lambda: peer("cached"), "warm": train})
    res.note(f"tutorial: {epochs} of 25 epochs timed, the epochs' time scaled to 25")
    job = "tutorial job, hymenoptera, MobileNetV2"
    res.row(job, "train, no cache yet", t["cold"], "PyTorch tutorial", t["tutorial"], 50)
    res.row(job, "train, no cache yet", t["cold"], "PyTorch, features by hand", t["cached"], 5)
    res.row(job, "train again", t["warm"], "PyTorch tutorial", t["tutorial"])
    res.row(job, "train again", t["warm"], "PyTorch, features by hand", t["cached"])


TRAINED = [("resnet18", "ResNet-18 224", 32), ("mobilenet_v2", "MobileNetV2 224", 16),
           ("resnet20", "CIFAR ResNet-20", 128)]


def graft_training(arch, batch, precision, part, peaks):
    """Seconds of a step, after warming up."""
    model = torch_weights(arch) if arch in NAMES else os.path.join(DATA, "weights", "resnet20-12fca82f.th")
    more = ["--unfreeze", "1"] if part != "whole" else []
    p = subprocess.run([GRAFT, "bench", model, "--train", "-b", str(batch), "--precision", precision, "--bn",
                        "train", "--json", "-q", *more], check=True, text=True, stdout=subprocess.PIPE)
    answer = json.loads(p.stdout)
    peaks.setdefault(precision, []).append(answer["process_bytes"] / 2**20)
    return answer["seconds"]


def job_training(res, opt):
    """Training steps of whole networks, and of the last stage with the classifier."""
    for arch, name, batch in TRAINED:
        for part, what in (("whole", "whole network"), ("last", "last stage"),
                           ("upper", "last stage, its input given")):
            say(f"training step, {what}, {name}: PyTorch tries compiling")
            usual = Peer("peer_training.py", "usual", arch, batch, part)
            best = Peer("peer_training.py", "best", arch, batch, part)
            res.note(f"training step, {what}, {name}: PyTorch at its best: {best.ready['how']}")
            peaks = {}

            def asked(name, peer):
                seconds = peer()
                peaks.setdefault(name, []).append(peer.answer["mib"])
                return seconds
            t = res.turns(opt.rounds, {
                "usual": lambda: asked("usual", usual),
                "fp32": lambda: graft_training(arch, batch, "fp32", part, peaks),
                "best": lambda: asked("best", best),
                "bf16": lambda: graft_training(arch, batch, "bf16", part, peaks)})
            usual.close(), best.close()
            job = f"training step, {what}, {name}, batch {batch}"
            targets = (None, None) if part == "upper" else (1.8, 5)
            res.row(job, "bf16", t["bf16"], "PyTorch best", t["best"], targets[0], unit="ms", scale=1000)
            res.row(job, "bf16", t["bf16"], "PyTorch eager fp32", t["usual"], targets[1], unit="ms",
                    scale=1000)
            res.row(job, "fp32", t["fp32"], "PyTorch eager fp32", t["usual"], unit="ms", scale=1000)
            for p, peer, title in (("bf16", "best", "PyTorch best"), ("fp32", "usual", "PyTorch eager fp32")):
                res.row(f"peak memory, {job}", p, spread(peaks[p]), title, spread(peaks[peer]), 2,
                        unit="MiB")


def job_finetune(res, opt):
    """The whole job of fine-tuning the upper half of MobileNetV2 on hymenoptera, augmented."""
    folder, cache = pictures("hymenoptera"), path("cache-finetune")
    model = path("out", "finetuned.onnx")
    peaks = {"peer": []}

    def peer():
        seconds, mib = run([sys.executable, "-W", "ignore", os.path.join(HERE, "tutorial_torch.py"),
                            "finetune", folder, "--epochs", "6"], max_rss=True)
        peaks["peer"].append(mib)
        return json.loads(last_log().splitlines()[-1])["seconds"]

    def graft(precision):
        shutil.rmtree(cache, ignore_errors=True)
        seconds, mib = run([GRAFT, "train", folder, "--from", MOBILENET_ONNX, *HALF, "-o", model, "-q",
                            "--cache", cache, "--unfreeze", "2", "--epochs", "6", "--views", "4",
                            "--augment", "light", "--lr", "1e-4", "--precision", precision], max_rss=True)
        peaks.setdefault(precision, []).append(mib)
        return seconds
    graft("fp32")
    with open(model + ".run/metrics.json") as f:
        methods = json.load(f)["methods"]
    res.check("accuracy of the fine-tuned classifier", methods[-1]["accuracy"], 0.93, at_least=True)
    t = res.turns(opt.rounds, {"peer": peer, "fp32": lambda: graft("fp32"), "bf16": lambda: graft("bf16")})
    for p in ("fp32", "bf16"):
        job = "fine-tuning MobileNetV2 on hymenoptera, two stages, 6 epochs, augmented"
        res.row(job, p + ", 4 cached views", t[p], "PyTorch eager fp32, 6 epochs", t["peer"], 5)
        res.row(f"peak memory, {job}", p, spread(peaks[p]), "PyTorch eager fp32", spread(peaks["peer"]), 2,
                unit="MiB")


def head_features(n, d, classes):
    """Features as a network gives them: not negative, correlated, classes that overlap."""
    rng = np.random.default_rng(n + classes)
    y = rng.integers(0, classes, n, dtype=np.int32)
    y[:classes] = np.arange(classes)  # no class without an example
    centres = rng.standard_normal((classes, 64), np.float32)
    mix = rng.standard_normal((64, d), np.float32) / 8
    x = (centres[y] + 3 * rng.standard_normal((n, 64), np.float32)) @ mix
    x += 0.5 * rng.standard_normal((n, d), np.float32)
    np.maximum(x, 0, out=x)
    px, py = path("out", "head.f32"), path("out", "head.i32")
    x.tofile(px)
    y.tofile(py)
    return px, py


def job_head(res, opt):
    """The head alone, at equal loss."""
    lam = 1e-3
    env = {"GOMP_SPINCOUNT": "2000"} | os.environ  # as the tool sets it for itself
    sizes = [(10000, 512, 10), (10000, 512, 1000), (50000, 1280, 10), (50000, 1280, 1000)]
    if opt.quick:
        res.note("--quick: the head with 50,000 x 1,280 features and 1,000 classes was left out")
        sizes.pop()
    for n, d, classes in sizes:
        say(f"head, {n} x {d}, {classes} classes")
        px, py = head_features(n, d, classes)
        command = [path("head"), px, py, str(n), str(d), str(classes), str(lam)]

        def graft():
            answer = json.loads(subprocess.run(command, check=True, text=True, env=env,
                                               stdout=subprocess.PIPE).stdout)
            graft.answer = answer
            return answer["seconds"]
        graft()
        peer = Peer("peer_head.py", px, py, n, d, classes, lam, graft.answer["loss"])
        ours, theirs = graft.answer["loss"], peer.ready["loss"]
        res.check(f"loss of scikit-learn's head above graft's, {n} x {d}, {classes} classes",
                  theirs / ours - 1, 1e-4)
        res.check(f"loss of graft's head above scikit-learn's, {n} x {d}, {classes} classes",
                  ours / theirs - 1, 1e-3)
        res.note(f"head {n} x {d}, {classes} classes: loss {ours:.6f} after {graft.answer['iterations']} "
                 f"iterations, scikit-learn {theirs:.6f} after {peer.ready['iterations']} "
                 f"(tol {peer.ready['tol']:g})")
        t = res.turns(opt.rounds, {"sklearn": peer, "graft": graft})
        peer.close()
        res.row(f"head, {n:,} × {d:,}, {classes:,} classes", "fp32", t["graft"],
                "scikit-learn lbfgs", t["sklearn"], 2)
        for p in (px, py):
            os.unlink(p)


ORT_ONE_LINER = """
import sys, numpy as np, onnxruntime as ort
from PIL import Image
im = Image.open(sys.argv[2]).convert("RGB")
k = 256 / min(im.size); im = im.resize((round(im.width * k), round(im.height * k)), Image.BILINEAR)
l, t = (im.width - 224) // 2, (im.height - 224) // 2
m, s = np.float32(eval(sys.argv[3])), np.float32(eval(sys.argv[4]))
x = (np.asarray(im.crop((l, t, l + 224, t + 224)), np.float32) / 255 - m) / s
net = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(int(np.argmax(net.run(None, {net.get_inputs()[0].name: x.transpose(2, 0, 1)[None]})[0])))
"""


def job_cold(res, opt):
    """The first prediction of a new process; the files are in the page cache."""
    folder = pictures("imagenet-samples-500")
    photo = os.path.join(folder, *listing(folder)[0])
    for arch, name, limit in (("mobilenet_v2_imagenet", "MobileNetV2", 60),
                              ("resnet18", "ResNet-18", 120)):
        say(f"first prediction, {name}")
        model = onnx_model(arch)
        more, m, s = (HALF, ".5,.5,.5", ".5,.5,.5") if arch not in NAMES else (
            [], ".485,.456,.406", ".229,.224,.225")

        def graft(*precision):
            return run([GRAFT, "predict", model, photo, "-q", *more, *precision])

        def peer():
            return run([sys.executable, "-c", ORT_ONE_LINER, model, photo, m, s])
        graft()
        ours = last_log().split("\t")[1]
        peer()
        res.check(f"{name}: same class as onnxruntime (0: yes)", float(ours != last_log().strip()), 0)
        t = res.turns(opt.rounds * 2, {"ort": peer, "auto": graft,
                                       "fp32": lambda: graft("--precision", "fp32")})
        for p in ("auto", "fp32"):
            res.row(f"first prediction, {name}", p, t[p], "Python with onnxruntime", t["ort"],
                    limit=limit, unit="ms", scale=1000)


def job_again(res, opt):
    """The second run on unchanged data."""
    n = 1000
    folder = linked("flowers", flowers(), n)
    cache, model, out = path("cache-again"), path("out", "again.onnx"), path("out", "again.npy")
    shutil.rmtree(cache, ignore_errors=True)
    net = ["--from", MOBILENET_ONNX, *HALF, "--cache", cache, "-q"]

    def train():
        return run([GRAFT, "train", folder, *net, "-o", model])

    def features():
        return run([GRAFT, "features", folder, *net, "-o", out])
    first = train()
    res.note(f"first run on {n} flowers, with an empty cache: {first:.2f} s")
    t = res.turns(opt.rounds, {"train": train, "features": features})
    for what in ("train", "features"):
        res.row(f"second run, {n:,} unchanged pictures", what, t[what], limit=0.5)


def flowers():
    folder = pictures("flowers")
    inner = os.path.join(folder, "flowers")
    return inner if os.path.isdir(inner) else folder


def job_growth(res, opt):
    """Time and memory with the number of pictures."""
    sizes = [500, 5000] if opt.quick else [1000, 10000] + ([100000] if opt.long else [])
    per_picture, memory = [], []
    for n in sizes:
        folder = linked("growth", flowers(), n)
        say(f"growth, {n} pictures")
        seconds, mib = run(features_command(folder, MOBILENET_ONNX, path("out", "growth.npy"), *HALF),
                           max_rss=True)
        per_picture.append(seconds / n)
        memory.append(mib)
        one = {"median": seconds, "min": seconds, "max": seconds, "runs": [seconds]}
        res.row(f"growth, features of {n:,} pictures", "auto, one run", one)
        res.row(f"growth, peak memory with {n:,} pictures", "auto, one run",
                {"median": mib, "min": mib, "max": mib, "runs": [mib]}, unit="MiB")
    res.note(f"growth {sizes[0]:,} to {sizes[-1]:,} pictures: time per picture x "
             f"{per_picture[-1] / per_picture[0]:.2f}, memory x {memory[-1] / memory[0]:.2f}")


def job_sharing(res, opt):
    """Decoding threads by computing threads: who takes the cores from whom."""
    n = min(opt.photos, 64 if opt.quick else 500)
    folder = linked("photos", pictures("imagenet-samples-500"), n)
    out, busy = path("out", "sharing.npy"), {}

    def contender(workers, threads):
        key = f"-j {workers}, {threads} computing"

        def job():
            env = os.environ | {"OMP_NUM_THREADS": str(threads)}
            seconds, cpu = run(features_command(folder, MOBILENET_ONNX, out, "--precision", "fp32", "-j",
                                                str(workers), *HALF), cpu=True, env=env)
            busy.setdefault(key, []).append(cpu)
            return seconds
        return key, job
    t = res.turns(opt.rounds, dict(contender(w, c) for w in (1, 2, 4) for c in (1, 2, 4)))
    for key, s in t.items():
        res.row(f"features of {n} photos, MobileNetV2, fp32", key, s)
        cpu = sorted(busy[key])
        res.note(f"{key}: {cpu[0]:.2f} to {cpu[-1]:.2f} s of all processors")


JOBS = {"features": job_features, "forward": job_forward, "tutorial": job_tutorial, "training": job_training,
        "finetune": job_finetune, "head": job_head,
        "cold": job_cold, "again": job_again, "growth": job_growth, "sharing": job_sharing}


def main():
    ap = argparse.ArgumentParser(prog="bench/run")
    ap.add_argument("--rounds", type=int, help="of each contender in turn (default 5)")
    ap.add_argument("--quick", action="store_true", help="2 rounds, fewer pictures, smaller heads")
    ap.add_argument("--photos", type=int, help="of the features job (default 500; --quick: 128)")
    ap.add_argument("--long", action="store_true", help="growth up to 100,000 pictures")
    ap.add_argument("--only", help="some of the jobs, comma-separated: " + ", ".join(JOBS))
    ap.add_argument("--list", action="store_true", help="name the jobs")
    opt = ap.parse_args()
    opt.rounds = opt.rounds or (2 if opt.quick else 5)
    opt.photos = opt.photos or (128 if opt.quick else 500)
    opt.bitmaps = 400 if opt.quick else 1600
    if opt.list:
        for name, fn in JOBS.items():
            print(f"{name:10} {fn.__doc__}")
        return
    chosen = opt.only.split(",") if opt.only else list(JOBS)
    unknown = [c for c in chosen if c not in JOBS]
    if unknown:
        ap.error(f"no job '{unknown[0]}'; there are {', '.join(JOBS)}")
    os.chdir(ROOT)
    os.environ["GRAFT_CACHE"] = path("cache")  # the user's own is left alone
    path("out", "")
    res = Results({"rounds": opt.rounds, "quick": opt.quick, "jobs": chosen})
    for name in chosen:
        say(f"== {name}: {JOBS[name].__doc__}")
        JOBS[name](res, opt)
    res.save()
    m = res.doc["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, load {m['load_at_start'][0]} at the "
          f"start and {res.doc['load_at_end'][0]} at the end; graft {m['versions']['graft']}, oneDNN "
          f"{m['versions']['onednn']}, torch {m['versions']['torch']}, onnxruntime "
          f"{m['versions']['onnxruntime']}, scikit-learn {m['versions']['scikit-learn']}\n")
    print(table(res.doc))
    for note in res.doc["notes"]:
        print(f"\n- {note}", end="")
    print()


if __name__ == "__main__":
    main()
