"""graft from Python: transfer learning by the C library, numpy arrays in and out.

    import graft
    result = graft.train("flowers/", "resnet18.pth", "flowers.onnx", progress=graft.show)
    print(result.table, result.verdict)
    answer = graft.predict("flowers.onnx", ["a.jpg", "b.jpg"])      # or uint8 arrays (N,H,W,3)
    print(answer.labels, answer.probs)

One file on ctypes and numpy; nothing is compiled. libgraft.so is looked for in $GRAFT_LIB (the file
itself), beside this file, in the tree that this file is installed in, then where the system looks.
"""
import ctypes
import ctypes.util
import glob
import os
import signal
import sys
import tempfile
import threading
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char, c_char_p, c_double,
                    c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p)

import numpy as np

__version__ = "0.1.0"
__all__ = ["train", "pretrain", "evaluate", "predict", "features", "Predictor", "Error", "show"]

# ---- graft.h; tests/python compares every offset with it ------------------------------------------

STATUS = ["OK", "E_ARG", "E_NOMEM", "E_IO", "E_FORMAT", "E_LIMIT", "E_UNSUPPORTED", "E_SHAPE",
          "E_COMPUTE", "E_CANCELLED", "E_CHECK", "E_GATE"]
PRECISION = ["auto", "fp32", "bf16", "int8"]  # GRAFT_PRECISION_AUTO and so on
RESIZE = ["shortest", "stretch", "letterbox"]  # GRAFT_RESIZE_SHORTEST and so on
FILTER = ["nearest", "bilinear", "bicubic", "lanczos", "box"]  # GRAFT_NEAREST and so on
CHANNELS = ["rgb", "bgr", "grey", "rgba"]  # GRAFT_RGB and so on


class graft_error(Structure):
    _fields_ = [("status", c_int), ("message", c_char * 1024)]


NOTE = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_char_p)
PROGRESS = CFUNCTYPE(None, c_void_p, c_char_p, c_int64, c_int64, c_char_p)
CANCELLED = CFUNCTYPE(c_bool, c_void_p)


class graft_events(Structure):
    _fields_ = [("user", c_void_p), ("note", NOTE), ("progress", PROGRESS), ("cancelled", CANCELLED)]


class graft_preprocess(Structure):
    _fields_ = [("width", c_int), ("height", c_int), ("resize", c_int), ("resize_to", c_int),
                ("filter", c_int), ("channels", c_int), ("scale", c_double), ("mean", c_double * 4),
                ("std", c_double * 4), ("pad_value", c_int)]


class graft_load_options(Structure):
    _fields_ = [("labels", c_char_p), ("preprocess", POINTER(graft_preprocess)),
                ("channels", POINTER(c_int)), ("reserved", c_void_p * 7)]


class graft_example(Structure):
    _fields_ = [("name", c_char_p), ("label", c_char_p), ("split", c_char_p), ("group", c_char_p),
                ("width", c_int), ("height", c_int), ("size", c_size_t)]


DESCRIBE = CFUNCTYPE(None, c_void_p, c_int64, POINTER(graft_example))
READ = CFUNCTYPE(c_bool, c_void_p, c_int64, c_void_p)


class graft_source(Structure):
    _fields_ = [("user", c_void_p), ("n", c_int64), ("describe", DESCRIBE), ("read", READ),
                ("reserved", c_void_p * 4)]


class graft_data_options(Structure):
    _fields_ = [("stop_on_bad", c_bool), ("val", c_double), ("test", c_double), ("seed", c_uint64),
                ("workers", c_int), ("batch", c_int), ("precision", c_int), ("cache", c_char_p),
                ("max_pixels", c_int64), ("memory", c_size_t), ("source", POINTER(graft_source)), ("reserved", c_void_p * 7)]


class graft_finetune_options(Structure):
    _fields_ = [("unfreeze", c_char_p), ("epochs", c_int), ("batch", c_int), ("lr", c_double),
                ("optimizer", c_char_p), ("schedule", c_char_p), ("warmup", c_double),
                ("weight_decay", c_double), ("layer_decay", c_double), ("clip", c_double),
                ("label_smoothing", c_double), ("focal", c_double), ("mixup", c_double),
                ("cutmix", c_double), ("ema", c_double), ("pull", c_double), ("patience", c_int),
                ("accumulate", c_int), ("find_lr", c_bool), ("gradual", c_bool), ("soup", c_int),
                ("bn", c_char_p), ("augment", c_char_p), ("views", c_int),
                ("dropout", c_double), ("lora", c_int), ("lora_alpha", c_double),
                ("resume", c_bool), ("reserved", c_void_p * 8)]


class graft_train_options(Structure):
    _fields_ = [("data", c_char_p), ("out", c_char_p), ("from", c_char_p), ("arch", c_char_p),
                ("keep_weights", c_bool), ("teacher", c_char_p), ("teacher_weight", c_double), ("load", graft_load_options), ("pictures", graft_data_options), ("cut", c_char_p),
                ("head", c_char_p), ("class_weights", c_char_p), ("l2", c_double), ("folds", c_int),
                ("finetune", graft_finetune_options), ("scratch", c_bool),
                ("allow_weak_source", c_bool), ("require", c_char_p), ("allow_leaks", c_bool),
                ("command", c_char_p), ("reserved", c_void_p * 8)]


class graft_eval_options(Structure):
    _fields_ = [("data", c_char_p), ("model", c_char_p), ("load", graft_load_options),
                ("pictures", graft_data_options), ("split", c_char_p), ("out", c_char_p),
                ("require", c_char_p), ("reserved", c_void_p * 8)]


class graft_predict_options(Structure):
    _fields_ = [("model", c_char_p), ("n_paths", c_int), ("paths", POINTER(c_char_p)),
                ("load", graft_load_options), ("pictures", graft_data_options),
                ("reserved", c_void_p * 8)]


class graft_features_options(Structure):
    _fields_ = [("data", c_char_p), ("from", c_char_p), ("out", c_char_p),
                ("load", graft_load_options), ("pictures", graft_data_options), ("cut", c_char_p),
                ("reserved", c_void_p * 8)]


class graft_metrics(Structure):
    _fields_ = [("n", c_int64), ("accuracy", c_double), ("low", c_double), ("high", c_double),
                ("top5", c_double), ("balanced_accuracy", c_double), ("macro_f1", c_double),
                ("log_loss", c_double), ("ece", c_double)]


class graft_row(Structure):
    _fields_ = [("method", c_char_p), ("metrics", graft_metrics), ("p_value", c_double)]


class graft_result(Structure):
    _fields_ = [("n_rows", c_int), ("rows", POINTER(graft_row)), ("verdict", c_char_p),
                ("table", c_char_p), ("json", c_char_p), ("out", c_char_p), ("report", c_char_p)]


PREDICTION = CFUNCTYPE(None, c_void_p, c_char_p, c_int, POINTER(c_char_p), POINTER(c_float),
                       c_char_p)


class graft_model_info(Structure):
    """What Predictor needs of it; the rest is behind."""
    _fields_ = [("path", c_char_p), ("format", c_char_p), ("producer", c_char_p), ("arch", c_char_p),
                ("pretrain", c_char_p), ("licence", c_char_p), ("sha256", c_char_p),
                ("opset", c_int64), ("n_nodes", c_int), ("n_params", c_int64),
                ("n_weight_bytes", c_int64), ("macs", c_double), ("input", c_char_p),
                ("input_rank", c_int), ("input_shape", c_int64 * 8), ("n_labels", c_int),
                ("labels", POINTER(c_char_p)), ("preprocess", graft_preprocess)]


_ERR = POINTER(graft_error)
_EV = POINTER(graft_events)

FUNCTIONS = {
    "graft_version": (c_char_p, []),
    "graft_status_name": (c_char_p, [c_int]),
    "graft_preprocess_init": (None, [POINTER(graft_preprocess)]),
    "graft_train_options_init": (None, [POINTER(graft_train_options)]),
    "graft_pretrain_options_init": (None, [POINTER(graft_train_options)]),
    "graft_eval_options_init": (None, [POINTER(graft_eval_options)]),
    "graft_predict_options_init": (None, [POINTER(graft_predict_options)]),
    "graft_features_options_init": (None, [POINTER(graft_features_options)]),
    "graft_train": (c_int, [POINTER(graft_train_options), _EV, POINTER(POINTER(graft_result)), _ERR]),
    "graft_eval": (c_int, [POINTER(graft_eval_options), _EV, POINTER(POINTER(graft_result)), _ERR]),
    "graft_predict": (c_int, [POINTER(graft_predict_options), PREDICTION, c_void_p, POINTER(c_int64),
                              _EV, _ERR]),
    "graft_features": (c_int, [POINTER(graft_features_options), _EV, _ERR]),
    "graft_result_free": (None, [POINTER(graft_result)]),
    "graft_model_load": (c_int, [c_char_p, POINTER(graft_load_options), POINTER(c_void_p), _ERR]),
    "graft_model_inspect": (c_int, [c_void_p, POINTER(POINTER(graft_model_info)), _ERR]),
    "graft_model_free": (None, [c_void_p]),
    "graft_predictor_new": (c_int, [c_void_p, c_int, POINTER(c_void_p), _ERR]),
    "graft_predictor_free": (None, [c_void_p]),
    "graft_predictor_n_classes": (c_int, [c_void_p]),
    "graft_predictor_label": (c_char_p, [c_void_p, c_int]),
    "graft_predict_file": (c_int, [c_void_p, c_char_p, POINTER(c_float), _ERR]),
    "graft_predict_bytes": (c_int, [c_void_p, c_char_p, c_size_t, POINTER(c_float), _ERR]),
    "graft_predict_batch": (c_int, [c_void_p, c_int64, POINTER(c_float), POINTER(c_float), _ERR]),
    "graft_predict_pixels": (c_int, [c_void_p, c_void_p, c_int, c_int, c_size_t, POINTER(c_float),
                                     _ERR]),
}


def _candidates():
    soname = "libgraft.so." + __version__.rsplit(".", 1)[0]
    here = os.path.dirname(os.path.abspath(__file__))
    if os.environ.get("GRAFT_LIB"):
        return [os.environ["GRAFT_LIB"]]
    found = [os.path.join(here, soname), os.path.join(here, "libgraft.so")]
    for pattern in ("lib", "lib/*", "lib64"):  # installed in PREFIX/share/graft
        found += glob.glob(os.path.join(here, "..", "..", pattern, soname))
    return [p for p in found if os.path.exists(p)] + [soname, ctypes.util.find_library("graft")]


def _open():
    problems = []
    for path in _candidates():
        if not path:
            continue
        try:
            lib = ctypes.CDLL(path)
            for name, (result, arguments) in FUNCTIONS.items():
                function = getattr(lib, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as e:
            problems.append(f"{path}: {e}")
            continue
        version = lib.graft_version().decode()
        if version.split(".")[:2] != __version__.split(".")[:2]:  # structs may differ
            problems.append(f"{path} is version {version}, this file is for {__version__}")
            continue
        return lib
    raise ImportError("no libgraft.so that can be used (set GRAFT_LIB to it):\n  "
                      + "\n  ".join(problems))


_lib = _open()

# ---- errors, progress, cancelling -----------------------------------------------------------------


class Error(RuntimeError):
    """What graft says went wrong. `status` is one word: "format", "shape", "check", ..."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def _raise(err):
    raise Error(_lib.graft_status_name(err.status).decode(), _text(err.message))


def _text(b):
    return None if b is None else os.fsdecode(b)


def show(topic, done, total, unit):
    """A progress function that writes a line to standard error."""
    sys.stderr.write(f"\r{topic} {done}/{total} {unit}\033[K" + ("\n" if done >= total else ""))
    sys.stderr.flush()


class _Job:
    """graft_events for one call. Nothing may be raised through C: an exception in a callback, and
    Ctrl-C, stop the job, and are raised when it has returned."""

    def __init__(self, progress, note):
        self.raised = None
        self.interrupted = False

        def on_note(user, level, topic, text):
            if note:
                self.guard(note, "warning" if level else "note", _text(topic), _text(text))

        def on_progress(user, topic, done, total, unit):
            if progress:
                self.guard(progress, _text(topic), done, total, _text(unit))

        def on_cancelled(user):
            return self.interrupted or self.raised is not None

        self.events = graft_events(None, NOTE(on_note), PROGRESS(on_progress),
                                   CANCELLED(on_cancelled))

    def guard(self, function, *arguments):
        try:
            return function(*arguments)
        except BaseException as e:  # raised again in run()
            self.raised = self.raised or e
            return None

    def interrupt(self, signum, frame):
        self.interrupted = True

    def run(self, function, *arguments):
        """Calls it with an error struct as the last argument and raises what must be raised."""
        err = graft_error()
        mine = threading.current_thread() is threading.main_thread() and \
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if mine:
            signal.signal(signal.SIGINT, self.interrupt)
        try:
            failed = function(*arguments, byref(err))
        finally:
            if mine:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.raised is not None:
            raise self.raised
        if self.interrupted:
            raise KeyboardInterrupt
        if failed:
            _raise(err)


# ---- options and data -----------------------------------------------------------------------------


def _bytes(value):
    return value if isinstance(value, bytes) else os.fsencode(value)


def _choice(names, value, what):
    if value not in names:
        raise ValueError(f"{what} is {value!r}, expected one of {', '.join(names)}")
    return names.index(value)


def _preprocess(given):
    """A dict of graft_preprocess's fields over the defaults."""
    p = graft_preprocess()
    _lib.graft_preprocess_init(byref(p))
    words = {"resize": RESIZE, "filter": FILTER, "channels": CHANNELS}
    for name, value in given.items():
        if name not in dict(graft_preprocess._fields_):
            raise TypeError(f"preprocess has no '{name}'")
        if name in words:
            value = _choice(words[name], value, name)
        if name in ("mean", "std"):
            for i, x in enumerate(np.broadcast_to(value, 3) if np.size(value) == 1 else value):
                getattr(p, name)[i] = x
        else:
            setattr(p, name, value)
    return p


def _set(options, given, alive):
    """Sets the fields of an options struct, and of those inside it, by name."""
    parts = [getattr(options, n) for n in ("load", "pictures", "finetune") if hasattr(options, n)]
    hidden = {"reserved", "source", "load", "pictures", "finetune", "data", "from", "arch", "out",
              "model", "paths", "n_paths"}
    for name, value in given.items():
        if value is None:
            continue
        if name == "preprocess":
            alive.append(_preprocess(value))
            options.load.preprocess = ctypes.pointer(alive[-1])
            continue
        if name == "channels":
            alive.append(c_int(_choice(CHANNELS, value, name)))
            options.load.channels = ctypes.pointer(alive[-1])
            continue
        if name == "batch_size":  # as the command line calls it; "batch" is the forward pass's
            where = [p for p in parts if isinstance(p, graft_finetune_options)]
            name = "batch"
        else:
            where = [s for s in [options] + parts if name in dict(s._fields_)]
        if not where or name in hidden:
            raise TypeError(f"no option '{name}'")
        kind = dict(where[0]._fields_)[name]
        if name == "precision":
            value = _choice(PRECISION, value, name)
        elif kind is c_char_p:
            value = _bytes(value if isinstance(value, (bytes, os.PathLike)) else str(value))
        setattr(where[0], name, value)


def _as_picture(a):
    a = np.asarray(a)
    if a.dtype != np.uint8 or a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] != 3) or not a.size:
        raise ValueError(f"a picture is {a.dtype} of shape {a.shape}, expected uint8 (H,W,3) or (H,W)")
    if a.ndim == 2:
        a = np.repeat(a[:, :, None], 3, axis=2)
    return np.ascontiguousarray(a)


def _is_path(x):
    return isinstance(x, (str, bytes, os.PathLike))


class _Source:
    """Arrays as a graft_source."""

    def __init__(self, pictures, labels=None, splits=None):
        self.pictures = [_as_picture(p) for p in pictures]
        self.labels, self.splits = (None if x is None else [str(s).encode() for s in x]
                                    for x in (labels, splits))
        for what, x in (("labels", self.labels), ("splits", self.splits)):
            if x is not None and len(x) != len(self.pictures):
                raise ValueError(f"{len(self.pictures)} pictures and {len(x)} {what}")

        def describe(user, i, e):
            e = e.contents
            e.height, e.width = self.pictures[i].shape[:2]
            e.label = self.labels and self.labels[i]
            e.split = self.splits and self.splits[i]

        def read(user, i, to):
            ctypes.memmove(to, self.pictures[i].ctypes.data, self.pictures[i].nbytes)
            return True

        self.c = graft_source(None, len(self.pictures), DESCRIBE(describe), READ(read))


def _use_data(options, data, labels, splits, alive):
    """A path, or arrays: pictures with their labels."""
    if _is_path(data):
        if labels is not None or splits is not None:
            raise TypeError("labels and splits go with arrays, not with a path")
        options.data = _bytes(data)
        return
    alive.append(_Source(data, labels, splits))
    options.data = b"arrays"
    options.pictures.source = ctypes.pointer(alive[-1].c)


# ---- what users call ------------------------------------------------------------------------------


class Result:
    """What graft_result says, as Python values. rows: one dict for each method, the model's last."""

    def __init__(self, r):
        self.rows = []
        for i in range(r.n_rows):
            m = r.rows[i].metrics
            row = {name: getattr(m, name) for name, _ in graft_metrics._fields_}
            self.rows.append({"method": r.rows[i].method.decode(), **row, "p_value": r.rows[i].p_value})
        self.accuracy = self.rows[-1]["accuracy"]
        self.verdict, self.table, self.json = _text(r.verdict), _text(r.table), _text(r.json)
        self.out, self.report = _text(r.out), _text(r.report)


def _result_of(job, function, options):
    r = POINTER(graft_result)()
    try:
        job.run(function, byref(options), byref(job.events), byref(r))
        return Result(r.contents)
    finally:
        _lib.graft_result_free(r)


def train(data, model, out, *, labels=None, splits=None, progress=None, note=None, **options):
    """Learns a classifier from `data`, a folder or a list or uint8 arrays with `labels` (and perhaps
    `splits`: "train", "val", "test"), with the source network `model`, into the file `out` (.onnx).
    `options`: any of graft_train_options, graft_data_options and graft_finetune_options by name
    (unfreeze, epochs, lr, batch_size, cut, head, seed, test, cache, precision="fp32", ...), and
    preprocess={"mean": 0.5, ...}. progress(topic, done, total, unit); note(level, topic, text).
    model=None takes the small network that comes with graft."""
    o = graft_train_options()
    _lib.graft_train_options_init(byref(o))
    if model is not None:
        setattr(o, "from", _bytes(model))
    return _train(o, data, out, labels, splits, progress, note, options)


def pretrain(data, arch, out, *, labels=None, splits=None, progress=None, note=None, **options):
    """Makes a source network from random weights: `arch` is a name ("resnet20") or a model file.
    Everything else as in train()."""
    o = graft_train_options()
    _lib.graft_pretrain_options_init(byref(o))
    o.arch = _bytes(arch)
    return _train(o, data, out, labels, splits, progress, note, options)


def _train(o, data, out, labels, splits, progress, note, options):
    alive = []
    _use_data(o, data, labels, splits, alive)
    o.out = _bytes(out)
    _set(o, options, alive)
    return _result_of(_Job(progress, note), _lib.graft_train, o)


def evaluate(model, data, *, labels=None, splits=None, progress=None, note=None, **options):
    """How good `model` is on labelled pictures: `data` as in train()."""
    o, alive = graft_eval_options(), []
    _lib.graft_eval_options_init(byref(o))
    _use_data(o, data, labels, splits, alive)
    o.model = _bytes(model)
    _set(o, options, alive)
    return _result_of(_Job(progress, note), _lib.graft_eval, o)


class Answer:
    """probs: float32 (n, classes), NaN where a picture could not be read; classes: their names;
    labels: the most probable class of each picture, or None; paths; problems: None, or why not."""

    def __init__(self, classes, paths, probs, problems):
        self.classes, self.paths, self.probs, self.problems = classes, paths, probs, problems
        self.labels = [None if p else classes[int(np.argmax(row))]
                       for row, p in zip(probs, problems)]


def predict(model, pictures, *, progress=None, note=None, **options):
    """`pictures`: a path (picture, folder, list), several, or uint8 arrays: (N,H,W,3), or a list of
    (H,W,3) and (H,W) of any sizes."""
    o, alive = graft_predict_options(), []
    _lib.graft_predict_options_init(byref(o))
    _set(o, options, alive)
    o.model = _bytes(model)
    if _is_path(pictures):
        pictures = [pictures]
    if len(pictures) and _is_path(pictures[0]):
        o.n_paths = len(pictures)
        o.paths = (c_char_p * o.n_paths)(*[_bytes(p) for p in pictures])
    else:
        alive.append(_Source(pictures))
        o.pictures.source = ctypes.pointer(alive[-1].c)
    job, classes, paths, rows, problems = _Job(progress, note), [], [], [], []

    def take(path, n, names, probs, problem):
        if not classes:
            classes.extend(_text(names[i]) for i in range(n))
        paths.append(_text(path))
        problems.append(_text(problem))
        rows.append(np.ctypeslib.as_array(probs, (n,)).copy() if probs else
                    np.full(n, np.nan, np.float32))

    def on_prediction(user, *arguments):
        job.guard(take, *arguments)

    job.run(_lib.graft_predict, byref(o), PREDICTION(on_prediction), None, None, byref(job.events))
    return Answer(classes, paths, np.stack(rows), problems)


def features(data, model=None, *, labels=None, progress=None, note=None, **options):
    """(vectors, paths, labels): what `model` says of pictures below its head (or at cut=NAME), float32
    (n, width). `data` and `model` as in train(). Pictures that cannot be read are left out."""
    o, alive = graft_features_options(), []
    _lib.graft_features_options_init(byref(o))
    _use_data(o, data, labels, None, alive)
    if model is not None:
        setattr(o, "from", _bytes(model))
    _set(o, options, alive)
    job = _Job(progress, note)
    with tempfile.TemporaryDirectory() as folder:
        o.out = _bytes(os.path.join(folder, "features.npy"))
        job.run(_lib.graft_features, byref(o), byref(job.events))
        vectors = np.load(_text(o.out))
        with open(_text(o.out) + ".paths.txt", encoding="utf-8", errors="surrogateescape",
                  newline="\n") as f:
            lines = [line.rstrip("\n").rsplit("\t", 1) for line in f]
    return vectors, [path for path, _ in lines], [label or None for _, label in lines]


class Predictor:
    """A model ready to answer again and again: p(picture) gives its probabilities. A picture is a
    path, the bytes of a picture file, or a uint8 array. For use by one thread at a time."""

    def __init__(self, model, precision="auto", preprocess=None):
        err, o = graft_error(), graft_load_options()
        self._model, self._p = c_void_p(), c_void_p()
        pre = None if preprocess is None else _preprocess(preprocess)
        if pre is not None:
            o.preprocess = ctypes.pointer(pre)
        precision = _choice(PRECISION, precision, "precision")
        if _lib.graft_model_load(_bytes(model), byref(o), byref(self._model), byref(err)):
            _raise(err)
        if _lib.graft_predictor_new(self._model, precision, byref(self._p), byref(err)):
            self.close()
            _raise(err)
        info = POINTER(graft_model_info)()
        if _lib.graft_model_inspect(self._model, byref(info), byref(err)):
            self.close()
            _raise(err)
        pre, shape = info.contents.preprocess, info.contents.input_shape
        planes = {"grey": 1, "rgba": 4}.get(CHANNELS[pre.channels], 3)
        last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
        self.input_shape = (pre.height, pre.width, planes) if last else (planes, pre.height, pre.width)
        n = _lib.graft_predictor_n_classes(self._p)
        self.classes = [_text(_lib.graft_predictor_label(self._p, i)) for i in range(n)]

    def __call__(self, picture):
        if not self._p:
            raise ValueError("this predictor is closed")
        err, probs = graft_error(), np.empty(len(self.classes), np.float32)
        to = probs.ctypes.data_as(POINTER(c_float))
        if isinstance(picture, (bytes, bytearray)):
            failed = _lib.graft_predict_bytes(self._p, bytes(picture), len(picture), to, byref(err))
        elif _is_path(picture):
            failed = _lib.graft_predict_file(self._p, _bytes(picture), to, byref(err))
        else:
            a = _as_picture(picture)
            failed = _lib.graft_predict_pixels(self._p, a.ctypes.data, a.shape[1], a.shape[0],
                                               3 * a.shape[1], to, byref(err))
        if failed:
            _raise(err)
        return probs

    def batch(self, x):
        """Pictures prepared by the caller: float32 (n,) + input_shape, after mean and std."""
        if not self._p:
            raise ValueError("this predictor is closed")
        x = np.ascontiguousarray(x, np.float32)
        if x.shape[1:] != self.input_shape:
            raise ValueError(f"x is of shape {x.shape}, expected (n,) + {self.input_shape}")
        err, probs = graft_error(), np.empty((len(x), len(self.classes)), np.float32)
        if _lib.graft_predict_batch(self._p, len(x), x.ctypes.data_as(POINTER(c_float)),
                                    probs.ctypes.data_as(POINTER(c_float)), byref(err)):
            _raise(err)
        return probs

    def close(self):
        p, self._p = self._p, c_void_p()
        model, self._model = self._model, c_void_p()
        _lib.graft_predictor_free(p)
        _lib.graft_model_free(model)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_p", None) is not None:
            self.close()
