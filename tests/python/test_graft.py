"""Run by tests/python/run, in an empty folder."""
import ctypes
import glob
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

import numpy as np

import graft

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
NETWORK = os.path.join(HERE, "..", "e2e", "backbone.onnx")


def write_bmp(path, a):
    h, w = a.shape[:2]
    rows = np.zeros((h, (3 * w + 3) // 4 * 4), np.uint8)
    rows[:, :3 * w] = a[::-1, :, ::-1].reshape(h, -1)
    head = np.zeros(54, np.uint8)
    head[:2], head[10], head[14], head[26], head[28] = (66, 77), 54, 40, 1, 24
    head[18:26] = np.array([w, h], "<i4").view(np.uint8)
    with open(path, "wb") as f:
        f.write(head.tobytes() + rows.tobytes())


def read_bmp(path):
    b = np.fromfile(path, np.uint8)
    w, h = b[18:26].view("<i4")
    return np.ascontiguousarray(b[54:].reshape(h, -1)[::-1, :3 * w].reshape(h, w, 3)[:, :, ::-1])


def draw(kind, random):
    """Checks, columns or rows of any two colours, under noise."""
    y, x = np.mgrid[:33, :31]
    width, dx, dy = 1 + random.random(), *(8 * random.random(2))
    column, row = ((x + dx) // width).astype(int) & 1, ((y + dy) // width).astype(int) & 1
    dark = (column ^ row, column, row)[kind][:, :, None]
    paper = 60 + 130 * random.random(3)
    ink = paper + random.choice([-1, 1]) * (50 + 60 * random.random(3))
    return np.clip(np.where(dark, ink, paper) + 20 * random.random((33, 31, 3)), 0, 255).astype(np.uint8)


def setUpModule():
    random = np.random.default_rng(0)
    for kind, name in enumerate(("checks", "columns", "rows")):
        os.makedirs("stripes/" + name)
        for i in range(30):
            write_bmp(f"stripes/{name}/{i:02}.bmp", draw(kind, random))
    graft.train("stripes", NETWORK, "stripes.onnx", test=0.2)


def load():
    paths = sorted(glob.glob("stripes/*/*.bmp"))
    return paths, np.stack([read_bmp(p) for p in paths]), [p.split("/")[1] for p in paths]


class Header(unittest.TestCase):
    """graft.py says of every struct and enum what graft.h says."""

    def run_c(self, lines):
        with open("layout.c", "w") as f:
            f.write("#include <graft.h>\n#include <stdio.h>\nint main(void)\n{\n")
            f.write("".join(f"    {line}\n" for line in lines) + "}\n")
        subprocess.run([os.environ["CC"], "-I" + os.path.join(ROOT, "include"), "layout.c", "-o",
                        "layout"], check=True)
        return subprocess.run(["./layout"], check=True, capture_output=True,
                              text=True).stdout.splitlines()

    def test_structs(self):
        structs = [s for _, s in inspect.getmembers(graft, inspect.isclass)
                   if issubclass(s, ctypes.Structure) and s is not ctypes.Structure]
        lines, expected = [], []
        for s in structs:
            c = "struct " + s.__name__
            lines.append(f'printf("{s.__name__} %zu\\n", sizeof({c}));')
            expected.append(f"{s.__name__} {ctypes.sizeof(s)}")
            for name, kind in s._fields_:
                if s is graft.graft_model_info and name == s._fields_[0][0]:
                    lines.pop(), expected.pop()  # only its first fields are declared
                lines.append(f'printf("{s.__name__}.{name} %zu %zu\\n", offsetof({c}, {name}), '
                             f"sizeof((({c} *)0)->{name}));")
                expected.append(f"{s.__name__}.{name} {getattr(s, name).offset} {ctypes.sizeof(kind)}")
        self.assertGreater(len(lines), 100)
        self.assertEqual(self.run_c(lines), expected)

    def test_enums(self):
        names = (["GRAFT_" + n for n in graft.STATUS] +
                 ["GRAFT_PRECISION_" + n.upper() for n in graft.PRECISION] +
                 ["GRAFT_RESIZE_" + n.upper() for n in graft.RESIZE] +
                 ["GRAFT_" + n.upper() for n in graft.FILTER + graft.CHANNELS])
        values = [i for names in (graft.STATUS, graft.PRECISION, graft.RESIZE, graft.FILTER,
                                  graft.CHANNELS) for i in range(len(names))]
        self.assertEqual(self.run_c([f'printf("%d\\n", {n});' for n in names]),
                         [str(v) for v in values])

    def test_functions(self):
        with open(os.path.join(ROOT, "include", "graft.h")) as f:
            declarations = re.findall(r"GRAFT_API[^;]*?(graft_\w+)\((.*?)\);", f.read(), re.S)
        declared = {name: 0 if a == "void" else a.count(",") + 1 for name, a in declarations}
        for name, (_, arguments) in graft.FUNCTIONS.items():
            self.assertEqual(len(arguments), declared[name], name)

    def test_version(self):
        self.assertEqual(graft._lib.graft_version().decode(), graft.__version__)


class Train(unittest.TestCase):
    def test_same_bytes_as_the_tool(self):
        subprocess.run([os.environ["GRAFT"], "train", "stripes", "--from", NETWORK, "--mean", "0.5",
                        "--std", "0.5", "--test", "0.2", "--seed", "3", "-o", "tool.onnx", "-q"],
                       check=True, stdout=subprocess.DEVNULL)
        graft.train("stripes", NETWORK, "python.onnx", test=0.2, seed=3,
                    preprocess={"width": 32, "height": 32, "resize": "stretch", "resize_to": 36,
                                "mean": 0.5, "std": 0.5})
        with open("tool.onnx", "rb") as a, open("python.onnx", "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_result(self):
        seen, notes = [], []
        r = graft.train("stripes", NETWORK, "r.onnx", test=0.3, cache="",
                        progress=lambda *a: seen.append(a), note=lambda *a: notes.append(a))
        self.assertEqual(r.out, "r.onnx")
        self.assertTrue(os.path.exists(r.report))
        self.assertEqual(r.rows[-1]["method"], "transfer (head only)")
        self.assertEqual(r.rows[-1]["n"], 27)
        self.assertTrue(0 <= r.accuracy <= 1 and r.verdict and "majority" in r.table)
        self.assertIn(("features", 90, 90, "img"), seen)
        self.assertTrue(any(topic == "head" for _, topic, _ in notes))

    def test_arrays(self):
        _, pictures, labels = load()
        r = graft.train(pictures, NETWORK, "arrays.onnx", labels=labels, test=0.2)
        a = graft.predict("arrays.onnx", pictures)
        self.assertEqual(a.classes, ["checks", "columns", "rows"])
        right = np.mean([x == y for x, y in zip(a.labels, labels)])
        self.assertGreater(right, 0.6)
        e = graft.evaluate("arrays.onnx", pictures, labels=labels)
        self.assertAlmostEqual(e.accuracy, right, places=6)
        self.assertEqual(r.rows[0]["method"], "majority class")

    def test_fine_tuning_and_splits(self):
        _, pictures, labels = load()
        splits = ["test" if i % 3 == 0 else "train" for i in range(len(labels))]
        r = graft.train(pictures, NETWORK, "tuned.onnx", labels=labels, splits=splits, unfreeze=1,
                        epochs=1, batch_size=8)
        self.assertEqual(r.rows[-1]["n"], 30)
        with open("tuned.onnx.run/history.jsonl") as f:  # before, and after each epoch
            self.assertEqual(len(f.readlines()), 2)


    def test_pretrain(self):
        _, pictures, labels = load()
        r = graft.pretrain(pictures, NETWORK, "new.onnx", labels=labels, test=0.2, epochs=1,
                           batch_size=16)
        self.assertEqual(r.rows[-1]["method"], "trained network")
        with self.assertRaisesRegex(graft.Error, "resnet20"):  # lists what there is
            graft.pretrain("stripes", "resnet21", "none.onnx")


class Predict(unittest.TestCase):
    def test_files_and_arrays_agree(self):
        paths, pictures, _ = load()
        a, b = graft.predict("stripes.onnx", paths), graft.predict("stripes.onnx", pictures)
        self.assertEqual(a.paths, paths)
        self.assertEqual(a.probs.shape, (90, 3))
        np.testing.assert_array_equal(a.probs, b.probs)
        np.testing.assert_allclose(a.probs.sum(1), 1, atol=1e-5)
        c = graft.predict("stripes.onnx", "stripes")
        self.assertEqual(c.labels, a.labels)

    def test_sizes_and_grey(self):
        pictures = [np.full((40, 20, 3), 9, np.uint8), np.full((7, 5), 200, np.uint8)]
        self.assertEqual(graft.predict("stripes.onnx", pictures).probs.shape, (2, 3))
        turned = np.zeros((30, 20, 3), np.uint8).transpose(1, 0, 2)  # not contiguous
        self.assertEqual(graft.predict("stripes.onnx", [turned]).probs.shape, (1, 3))

    def test_predictor(self):
        paths, pictures, _ = load()
        expected = graft.predict("stripes.onnx", paths, precision="fp32").probs
        with graft.Predictor("stripes.onnx", "fp32") as p:
            for i in range(0, 90, 9):
                with open(paths[i], "rb") as f:
                    answers = [p(paths[i]), p(f.read()), p(pictures[i])]
                for answer in answers:
                    np.testing.assert_allclose(answer, expected[i], atol=1e-5)
        self.assertRaises(ValueError, p, paths[0])

    def test_batch(self):
        random = np.random.default_rng(1)
        pictures = random.integers(0, 256, (19, 32, 32, 3), np.uint8)
        pre = {"width": 32, "height": 32, "resize": "stretch", "mean": 0.5, "std": 0.25}
        with graft.Predictor("stripes.onnx", "fp32", pre) as p:
            self.assertEqual(p.input_shape, (3, 32, 32))
            x = ((pictures / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2)
            np.testing.assert_allclose(p.batch(x), [p(a) for a in pictures], atol=1e-5)
            self.assertRaises(ValueError, p.batch, x[:, :2])
            self.assertEqual(p.batch(x[:0]).shape, (0, 3))

    def test_bad_picture(self):
        with open("bad.bmp", "wb") as f:
            f.write(b"BM nothing more of a bitmap")
        paths, _, _ = load()
        a = graft.predict("stripes.onnx", [paths[0], "bad.bmp"])
        self.assertEqual([p is None for p in a.problems], [True, False])
        self.assertIsNone(a.labels[1])
        self.assertTrue(np.isnan(a.probs[1]).all())
        with graft.Predictor("stripes.onnx") as p, self.assertRaises(graft.Error) as e:
            p("bad.bmp")
        self.assertEqual(e.exception.status, "format")


class Features(unittest.TestCase):
    def test_features(self):
        paths, pictures, labels = load()
        x, xp, xl = graft.features("stripes", NETWORK)
        y, _, yl = graft.features(pictures, NETWORK, labels=labels)
        self.assertEqual((x.shape, x.dtype), ((90, 64), np.float32))
        self.assertEqual((xp, xl, yl), (paths, labels, labels))
        np.testing.assert_array_equal(x, y)
        z, _, zl = graft.features(pictures, NETWORK, cut="relu1")
        self.assertNotEqual(z.shape, x.shape)
        self.assertEqual(set(zl), {None})


class Wrong(unittest.TestCase):
    def test_errors(self):
        with self.assertRaises(graft.Error) as e:
            graft.train("stripes", "absent.onnx", "x.onnx")
        self.assertEqual(e.exception.status, "input/output")
        self.assertIn("absent.onnx: cannot open", str(e.exception))
        with self.assertRaises(graft.Error) as e:
            graft.train("stripes", NETWORK, "x.onnx", cut="nowhere")
        self.assertEqual(e.exception.status, "argument")

    def test_arguments(self):
        picture = np.zeros((2, 8, 8, 3), np.uint8)
        for wrong, kind in (
                (lambda: graft.train("stripes", NETWORK, "x.onnx", epoch=3), TypeError),
                (lambda: graft.train("stripes", NETWORK, "x.onnx", reserved=3), TypeError),
                (lambda: graft.train("stripes", NETWORK, "x.onnx", labels=["a"]), TypeError),
                (lambda: graft.train("stripes", NETWORK, "x.onnx", precision="half"), ValueError),
                (lambda: graft.train(picture, NETWORK, "x.onnx", labels=["a"]), ValueError),
                (lambda: graft.predict("stripes.onnx", picture.astype(np.float32)), ValueError),
                (lambda: graft.predict("stripes.onnx", picture[..., :2]), ValueError)):
            self.assertRaises(kind, wrong)
        self.assertFalse(os.path.exists("x.onnx"))

    def test_exception_in_progress(self):
        def fail(*_):
            raise LookupError("mine")
        with self.assertRaisesRegex(LookupError, "mine"):
            graft.train("stripes", NETWORK, "y.onnx", cache="", progress=fail)
        self.assertFalse(os.path.exists("y.onnx"))

    def test_interrupt(self):
        def press(*_):
            os.kill(os.getpid(), signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            graft.train("stripes", NETWORK, "z.onnx", cache="", progress=press)
        self.assertFalse(os.path.exists("z.onnx"))
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def test_interrupt_without_callbacks(self):
        code = ("import graft, sys\ntry:\n print('begun', flush=True)\n graft.train('stripes', sys.argv[1], 'w.onnx', cache='', "
                "unfreeze='all', epochs=100000)\nexcept KeyboardInterrupt:\n sys.exit(42)")
        with subprocess.Popen([sys.executable, "-c", code, NETWORK], stdout=subprocess.PIPE) as p:
            p.stdout.readline()
            time.sleep(2)
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(120), 42)
        self.assertFalse(os.path.exists("w.onnx"))

    def test_other_threads(self):
        errors = []

        def work(i):
            try:
                graft.train("stripes", NETWORK, f"t{i}.onnx")
            except BaseException as e:
                errors.append(e)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(errors, [])

    def test_no_library(self):
        p = subprocess.run([sys.executable, "-c", "import graft"], capture_output=True, text=True,
                           env={**os.environ, "GRAFT_LIB": "/nowhere/libgraft.so"})
        self.assertIn("set GRAFT_LIB", p.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=1)
