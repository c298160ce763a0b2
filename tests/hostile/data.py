"""Hostile data sets, lists, options and surroundings (a full disk, a damaged cache)."""
import json
import os

from pictures import bmp

MODEL = "in/models/backbone.onnx"


def picture(rnd):
    return bmp(32, 32, data=rnd.randbytes(32 * 96))


def add_sets(s):
    fresh = lambda: picture(s.random)

    def folder(name, classes, n):
        for c in classes:
            for i in range(n):
                s.put("data/%s/%s/%d.bmp" % (name, c, i), fresh())
        return "in/data/" + name

    def train(name, path, exits, *options, **more):
        s.case("data-" + name, "train", path, "--from", MODEL, "-o", "{out}/m.onnx", *options, exits=exits,
               **more)

    def check(name, path, exits, **more):
        s.case("check-" + name, "check", path, exits=exits, **more)

    folder("good", "abc", 8)
    s.put("data/single/0.bmp", bmp(32, 32))
    os.makedirs(s.path("data/empty"))
    os.makedirs(s.path("data/empty-classes/a"))
    os.makedirs(s.path("data/empty-classes/b"))
    bad = dict(file="in/data/")
    for name, path in (("empty", "in/data/empty"), ("empty-classes", "in/data/empty-classes"),
                       ("missing", "in/data/none"), ("null", "/dev/null"), ("zero", "/dev/zero"),
                       ("fifo", "in/models/fifo.onnx"), ("model", MODEL), ("flat", "in/data/single")):
        train(name, path, [1, 3, 4], file=path)
        if name not in ("flat", "model"):
            check(name, path, [1, 3, 4], file=path)
    for name, classes, n in (("one-class", "a", 6), ("one-picture", "a", 1), ("one-picture-each", "abc", 1),
                             ("two-pictures-each", "ab", 2)):
        train(name, folder(name, classes, n), [0, 4] if name.startswith("two") else [3, 4],
              says="graft: in/data/" + name)
    path = folder("all-bad", "", 0)
    for c in "ab":
        for i in range(4):
            s.put("data/all-bad/%s/%d.jpg" % (c, i), b"text %d" % i)
    train("all-bad", path, [3, 4], file=path)
    # Pictures among traps: each trap is listed, the rest is used.
    path = folder("traps", "abc", 8)
    for name in ("new\nline.jpg", "quote\"'.jpg", "\033[2Jescape.jpg", "\udcff\udcfe.jpg", ".hidden.jpg"):
        s.put("data/traps/a/" + name, b"text")
    os.mkfifo(s.path("data/traps/a/fifo.jpg"))
    os.symlink(b"/dev/zero", s.path("data/traps/a/zero.jpg"))
    os.symlink(b"/proc/self/mem", s.path("data/traps/a/memory.jpg"))
    os.symlink(b"nowhere.jpg", s.path("data/traps/a/dangling.jpg"))
    os.symlink(b"itself.jpg", s.path("data/traps/a/itself.jpg"))
    os.symlink(b"..", s.path("data/traps/b/up"))
    os.symlink(b"/", s.path("data/traps/c/root"))
    os.unlink(s.path("data/traps/c/root"))
    os.makedirs(s.path("data/traps/b/folder.jpg"))
    deep = s.path("data/traps/c/" + "d/" * 100 + "x.bmp")
    with open(deep, "wb") as f:
        f.write(fresh())
    train("traps", path, [0], listed="fifo.jpg")
    check("traps", path, [0, 4], listed="zero.jpg")
    s.case("data-traps-stop", "train", path, "--from", MODEL, "-o", "{out}/m.onnx", "--on-bad", "stop",
           exits=[3], says="graft: ")
    s.case("data-traps-predict", "predict", MODEL, path + "/a", exits=[3], says="fifo.jpg")
    path = folder("class-names", ["new\nline", "\033[31mred", "\udcff\udcfe", "a\"b'c", " ", "<script>", ",;"], 6)
    train("class-names", path, [0, 2, 3, 4], file="class")
    s.case("data-class-names-ascii", "features", path, "--from", MODEL, "-o", "{out}/f.csv", exits=[0, 3])
    path = folder("many-classes", ["c%04d" % i for i in range(300)], 1)
    train("many-classes", path, [0, 3, 4], file="in/data/many-classes")
    path = folder("same", "ab", 0)
    one = fresh()
    for c in "ab":
        for i in range(6):
            s.put("data/same/%s/%d.bmp" % (c, i), one)
    train("same-picture", path, [4], file=path)
    train("same-picture-leaks", path, [0, 4], "--allow-leaks", says="graft: ")
    path = folder("two-trains", ["train/a", "train/b", "Training/a", "Training/b"], 3)
    train("two-trains", path, [3], file=path)
    path = folder("test-only-class", ["train/a", "train/b", "test/a", "test/b", "test/z"], 4)
    train("test-only-class", path, [0, 3, 4], says="graft: ")
    path = folder("empty-test", ["train/a", "train/b"], 4)
    os.makedirs(s.path("data/empty-test/test"))
    train("empty-test", path, [0, 3, 4], says="graft: ")
    path = folder("unreadable", "abc", 8)
    os.chmod(s.path("data/unreadable/a/0.bmp"), 0)
    train("unreadable-file", path, [0], listed="a/0.bmp", skip_root=True)
    path = folder("unreadable-folder", "abc", 8)
    os.chmod(s.path("data/unreadable-folder/a"), 0)
    train("unreadable-folder", path, [0], listed="unreadable-folder/a", skip_root=True)
    locked = s.put("models/locked.onnx", b"x")
    os.chmod(s.path("models/locked.onnx"), 0)
    s.case("model-unreadable", "inspect", locked, exits=[1], file=locked, skip_root=True)


def add_lists(s):
    rows = "".join("good/%s/%d.bmp,%s\n" % (c, i, c) for c in "abc" for i in range(8))
    n = [0]

    def lst(name, data, exits=(3,), suffix="csv", **more):
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        path = s.put("data/%s.%s" % (name, suffix), data)
        more.setdefault("file", path)
        command = (["check", path] if n[0] % 3 else
                   ["train", path, "--from", MODEL, "-o", "{out}/m.onnx"])
        n[0] += 1
        s.case("list-%s-%s" % (suffix, name), *command, exits=list(exits), **more)

    lst("no-column", "picture,label\n" + rows)
    lst("no-header", rows)
    lst("empty", "", (3, 4))
    lst("only-header", "file,label\n", (3, 4))
    lst("quote", 'file,label\n"good/a/0.bmp,a\n' + rows)
    lst("quote-garbage", 'file,label\n"good/a/0.bmp"x,a\n' + rows)
    lst("zero-byte", "file,label\ngood/a/0.bmp\0,a\n" + rows)
    lst("million-columns", "file" + ",x" * 1000000 + "\n")
    lst("million-commas", "file,label\n" + "," * 1000000)
    lst("bom", "\ufefffile,label\n" + rows, (0,))
    lst("bom-16", ("file,label\n" + rows).encode("utf-16"))
    lst("header-twice", "file,file,label\n" + rows)
    lst("header-two-files", "file,path\n" + rows)
    lst("split", "file,label,split\ngood/a/0.bmp,a,holdout\n")
    lst("split-some", "file,label,split\ngood/a/0.bmp,a,train\ngood/a/1.bmp,a,\n")
    lst("columns", "file,label\ngood/a/0.bmp,a,b\n")
    lst("weight", "file,label,weight\ngood/a/0.bmp,a,-1\n")
    lst("weight-nan", "file,label,weight\ngood/a/0.bmp,a,nan\n")
    lst("missing-files", "file,label\n" + rows.replace("good/", "gone/"), (3, 4))
    lst("some-missing", "file,label\n" + rows + "gone.bmp,a\n", (0,), listed="gone.bmp")
    lst("zero-device", "file,label\n" + rows + "/dev/zero,a\n", (0,), listed="/dev/zero")
    lst("itself", "file,label\n" + rows + "itself.csv,a\n", (0,), listed="itself.csv")
    lst("not-utf8", "file,label\n" + rows.replace(",a", ",\udcff\udcfe"), (0, 2, 3, 4), file="graft")
    lst("long-path", "file,label\n" + rows + "x" * 1000000 + ",a\n", (0, 3, 4), file="graft")
    lst("no-labels", "file\n" + rows.replace(",a", "").replace(",b", "").replace(",c", ""), (0, 3, 4),
        file="graft")
    lst("ten-columns-ten-thousand-labels", "file,label\n" + "".join(
        "good/a/0.bmp,l%d\n" % i for i in range(2000)), (4,))
    lst("spaces", "file,label\n" + " \n" * 10, (3, 4))
    lst("tabs", "file\tlabel\n" + rows.replace(",", "\t"), (0,), "tsv")
    lst("commas", "file,label\n" + rows, (3,), "tsv")
    line = lambda **a: json.dumps(a) + "\n"
    good = "".join(line(file="good/%s/%d.bmp" % (c, i), label=c) for c in "abc" for i in range(8))
    lst("open", good + '{"file": "good/a/0.bmp"', (3,), "jsonl")
    lst("list", good + "[1, 2]\n", (3,), "jsonl")
    lst("deep", good + "[" * 1000000 + "\n", (3,), "jsonl")
    lst("twice", good + '{"file": "a", "file": "b"}\n', (3,), "jsonl")
    lst("two-files", good + '{"file": "a", "path": "b"}\n', (3,), "jsonl")
    lst("no-file", good + line(label="a"), (3,), "jsonl")
    lst("object", good + line(file={"a": 1}), (3,), "jsonl")
    lst("zero-byte", good + line(file="a\0b", label="a"), (0, 3), "jsonl")
    lst("number", good + line(file=10**30, label="a"), (0, 3), "jsonl")
    lst("text", "not json\n", (3,), "jsonl")
    os.makedirs(s.path("data/folder.csv"))
    s.case("list-is-folder", "check", "in/data/folder.csv", exits=[3, 4], says="folder.csv")
    os.symlink(b"/dev/zero", s.path("data/zero.csv"))
    s.case("list-is-zero", "check", "in/data/zero.csv", exits=[1, 3], says="zero.csv")


def add_options(s):
    good = "in/data/good"

    def train(name, exits, *options, out="{out}/m.onnx", **more):
        more.setdefault("says", "graft")
        s.case("option-" + name, "train", good, "--from", MODEL, "-o", out, *options, exits=exits, **more)

    train("out-folder-missing", [1], out="{out}/none/m.onnx", says="none")
    train("out-is-folder", [1, 2], out="in/data/empty-classes/a", says="empty-classes/a")
    train("out-full", [1, 2], out="/dev/full", says="/dev/full")
    train("out-no-ending", [0, 2], out="{out}/model", says="model")
    train("out-empty", [1, 2], out="", says="graft")
    train("cut-nowhere", [2], "--cut", "nowhere", says="nowhere")
    train("cut-constant", [2, 3], "--cut", "conv0.weight", says="conv0.weight")
    train("cut-input", [0, 2, 3], "--cut", "input", says="input")
    train("cut-scores", [0], "--cut", "scores")
    train("cut-empty", [2], "--cut", "", says="graft")
    train("cut-commas", [2], "--cut", "relu1,,relu2", says="graft")
    train("cut-twice", [0, 2], "--cut", "relu2,relu2")
    train("cut-1000", [2, 3], "--cut", ",".join(["relu2"] * 1000), says="graft")
    train("cut-escape", [2], "--cut", "\033[2J\n", says="graft")
    for head in ("knn:0", "knn:-1", "knn:9999999999999999999", "mlp:0", "mlp:999999999", "mlp:x", "knn", "ncm:3",
                 "", "forest", "logistic:"):
        train("head-" + (head or "empty"), [2, 3], "--head", head, says="graft")
    train("head-knn-1000000", [0, 2, 3], "--head", "knn:1000000", says="graft")
    train("folds-100", [0, 2, 4], "--folds", "100", says="graft")
    train("val-0-test-0", [0, 2, 4], "--val", "0", "--test", "0", says="graft")
    train("val-and-test", [2, 3, 4], "--val", "0.9", "--test", "0.9", says="graft")
    train("test-nan", [2], "--test", "nan", says="--test")
    train("seed-minus", [2], "--seed", "-1", says="--seed")
    train("seed-2^64", [2], "--seed", str(2**64), says="--seed")
    train("l2-1e300", [2], "--l2", "1e300", says="--l2")
    train("require", [2], "--require", "accuracy is good", says="accuracy is good")
    train("require-nan", [2, 5], "--require", "acc>=nan", says="nan")
    train("workers-256", [0], "--workers", "256")
    train("workers-100000", [2], "--workers", "100000", says="--workers")
    train("workers-minus", [2], "--workers", "-1", says="--workers")
    train("batch-4096", [0, 3], "--forward-batch", "4096", says="graft")
    train("batch-0", [2], "--forward-batch", "0", says="--forward-batch")
    train("img-size", [2, 3], "--img-size", "8192", says="graft")
    train("mean-words", [2], "--mean", "a,b,c", says="graft")
    train("mean-two", [2], "--mean", "1,2", says="graft")
    train("std-0", [2], "--std", "0,0,0", says="graft")
    train("std-nan", [2], "--std", "nan", says="graft")
    train("std-1e-300", [0, 1, 2, 3], "--std", "1e-300", says="graft")
    train("mean-inf", [2], "--mean", "inf", says="graft")
    train("mean-1e38", [0, 1, 2, 3], "--mean", "1e38", says="graft")
    train("labels-count", [0, 2, 3], "--labels", s.put("options/two.txt", b"a\nb\n"), says="graft")
    for name, data in (("empty", b""), ("zero-bytes", b"a\0b\n" * 10), ("not-utf8", b"\xff\xfe\n" * 10),
                       ("deep", b"[" * 100000), ("million", b"x\n" * 1000000), ("long-line", b"x" * 3000000)):
        path = s.put("options/labels-%s.txt" % name, data)
        s.case("option-labels-" + name, "predict", MODEL, "in/pictures/good.bmp", "--labels", path, exits=[2, 3],
               says="graft")
    s.case("option-labels-zero-device", "predict", MODEL, "in/pictures/good.bmp", "--labels", "/dev/zero",
           exits=[1, 3], says="/dev/zero")
    s.case("option-labels-folder", "inspect", MODEL, "--labels", "in/data", exits=[1, 3], says="in/data")
    s.case("option-none", "train", exits=[2], says="usage")
    s.case("option-unknown", "train", "--nonsense", exits=[2], says="unknown option")
    s.case("option-command", "tran", exits=[2], says="command")
    s.case("option-from-folder", "train", good, "--from", "in/data", "-o", "{out}/m.onnx", exits=[1, 3], says="in/data")
    s.case("option-log", "train", good, "--from", MODEL, "-o", "{out}/m.onnx", "--log", "in/data", exits=[1],
           says="in/data")
    for command, out in (("convert", "m.onnx"), ("convert", "m.safetensors"), ("features", "f.npy"),
                         ("features", "f.csv"), ("features", "f.safetensors")):
        args = [MODEL] if command == "convert" else [good, "--from", MODEL]
        name = command + "-" + out.split(".")[1]
        s.case("out-missing-" + name, command, *args, "-o", "{out}/none/" + out, exits=[1], says="none")
        s.case("out-full-disk-" + name, command, *args, "-o", "{out}/" + out, exits=[1], says=out, fsize=512)
    s.case("out-ending", "features", good, "--from", MODEL, "-o", "{out}/f.txt", exits=[2], says="f.txt")
    s.case("convert-ending", "convert", MODEL, "-o", "{out}/m.txt", exits=[2, 3], says="m.txt")
    s.case("convert-itself", "convert", "in/models/good.onnx", "-o", "in/models/good.onnx", exits=[0, 2])
    for n in (0, 4096, 20000, 70000):
        s.case("full-disk-%d" % n, "train", good, "--from", MODEL, "-o", "{out}/m.onnx", exits=[1], says="graft",
               fsize=n)
        s.case("full-disk-%d-no-cache" % n, "train", good, "--from", MODEL, "-o", "{out}/m.onnx", "--cache", "",
               exits=[1], says="graft", fsize=n)
    s.case("full-disk-eval", "eval", MODEL, good, "-o", "{out}/run", exits=[1, 2], says="graft", fsize=0)
    for command in (["inspect", MODEL], ["predict", MODEL, "in/pictures/good.bmp"], ["--help"], ["--man"],
                    ["convert", MODEL, "-o", "{out}/m.onnx"]):
        s.case("full-stdout-" + command[0].strip("-"), *command, exits=[1], says="graft", stdout="/dev/full",
               keeps=command[0] == "convert")
    for kind in ("file", "junk", "lock-folder", "missing-parent", "truncated", "flipped"):
        s.case("cache-" + kind, "train", good, "--from", MODEL, "-o", "{out}/m.onnx", exits=[0, 1, 3], says="cache",
               cache=kind)
    for kind in ("truncated", "flipped", "junk"):
        s.case("cache-%s-features" % kind, "features", good, "--from", MODEL, "-o", "{out}/f.npy", exits=[0, 1, 3],
               says="cache", cache=kind, same="f.npy")
    s.case("eval-classes", "eval", MODEL, good, exits=[2], says="graft")
    s.case("eval-split", "eval", MODEL, good, "--split", "sideways", exits=[2], says="graft")


def add(s):
    add_sets(s)
    add_lists(s)
    add_options(s)
