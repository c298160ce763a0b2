"""What the files that write hostile inputs share: the folder, the cases, seeded random numbers."""
import json
import os
import random


class Suite:
    """Inputs below `root`/in and the command lines that read them. In a command line `{out}` is the
    case's own empty folder; the others are paths below `root`, where the tool is started."""

    def __init__(self, root, tests):
        self.root = root
        self.tests = tests  # the project's tests/ folder: real files to damage
        self.cases = []
        self.names = set()
        self.random = random.Random(20240229)

    def golden(self, path):
        with open(os.path.join(self.tests, path), "rb") as f:
            return f.read()

    def path(self, name):
        full = os.path.join(os.fsencode(self.root), b"in", os.fsencode(name))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        return full

    def put(self, name, data):
        assert not os.path.lexists(self.path(name)), name
        with open(self.path(name), "wb") as f:
            f.write(data)
        return "in/" + name

    def case(self, name, *argv, exits, **more):
        """`exits`: allowed exit statuses. `says`: text that standard error must hold on failure
        (default: the base name of the file in `file`). `listed`: must be there in any case.
        `prints`: must be on standard output in any case. `same`: an output that must equal the
        features of in/data/good by in/models/backbone.onnx. `fsize`: no file may grow beyond so many bytes. `stdout`: where it goes.
        `silent`: failures are told on standard output (--json). `cache`: what lies
        in place of the feature cache. `skip_root`: proves nothing when run by root."""
        assert name not in self.names, name
        self.names.add(name)
        self.cases.append(dict(name=name, argv=list(argv), exits=list(exits), **more))

    def save(self):
        with open(os.path.join(self.root, "manifest.json"), "w") as f:
            json.dump(self.cases, f, indent=1)


def truncations(data, n):
    """n lengths from 0 to almost everything, dense at the start where the structure is."""
    return sorted({int(len(data) * (i / n) ** 2) for i in range(n)} | {len(data) - 1})


def flipped(data, rnd, start=0, end=None, bits=1):
    out = bytearray(data)
    for _ in range(bits):
        at = rnd.randrange(start, end or len(out))
        out[at] ^= 1 << rnd.randrange(8)
    return bytes(out)
