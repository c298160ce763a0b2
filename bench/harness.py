"""Measures contenders in turn, A B A B ..., and keeps the figures.

A contender is a function without arguments that does its job once and returns what it took."""
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
WORK = os.path.join(ROOT, "build", "bench")
GRAFT = os.path.join(ROOT, "build", "release", "cli", "graft")


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(args, max_rss=False, cpu=False, env=None):
    """Wall seconds of a command, from before its start to after its end; with max_rss also MiB, with
    cpu also the seconds of all processors."""
    with open(os.path.join(WORK, "last.log"), "w+") as log:
        start = time.perf_counter()
        p = subprocess.Popen(args, stdout=log, stderr=log, env=env)
        _, status, usage = os.wait4(p.pid, 0)
        seconds = time.perf_counter() - start
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(args)}: exit status {p.returncode}\n{log.read()[-2000:]}")
    if cpu:
        return seconds, usage.ru_utime + usage.ru_stime
    return (seconds, usage.ru_maxrss / 1024) if max_rss else seconds


def last_log():
    with open(os.path.join(WORK, "last.log")) as f:
        return f.read()


class Peer:
    """A Python process that imports and prepares first, then does its job once for every line that
    it is sent; its preparation is not in the figures."""

    def __init__(self, script, *args):
        self.p = subprocess.Popen([sys.executable, "-W", "ignore", os.path.join(HERE, script)] +
                                  [str(a) for a in args], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.ready = self.read()

    def read(self):
        line = self.p.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.p.args)}: ended without an answer")
        return json.loads(line)

    def __call__(self, text=""):
        self.p.stdin.write(text + "\n")
        self.p.stdin.flush()
        self.answer = self.read()
        return self.answer["seconds"]

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def peer_main(ready, job):
    """The other side of Peer: `job(text)` returns a dict with `seconds`."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(job(line.strip())), flush=True)


def machine():
    with open("/proc/cpuinfo") as f:
        info = f.read()
    flags = re.search(r"^flags\s*:(.*)$", info, re.M)
    flags = set(flags.group(1).split()) if flags else set()
    name = re.search(r"^model name\s*:\s*(.*)$", info, re.M)
    versions = {}
    for p in ("torch", "torchvision", "onnxruntime", "onnx", "scikit-learn", "pillow", "numpy"):
        try:
            versions[p] = metadata.version(p)
        except metadata.PackageNotFoundError:
            versions[p] = None
    git = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        dnnl = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libdnnl-dev"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    except OSError:
        dnnl = ""
    versions |= {"python": platform.python_version(), "graft": git.stdout.strip(), "onednn": dnnl}
    return {"cpu": name.group(1) if name else platform.processor(),
            "cores": len(os.sched_getaffinity(0)),
            "isa": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "kernel": platform.release(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "load_at_start": [round(x, 2) for x in os.getloadavg()],
            "date": time.strftime("%Y-%m-%d %H:%M:%S %z"), "versions": versions}


def spread(runs):
    return {"median": statistics.median(runs), "min": min(runs), "max": max(runs), "runs": runs}


class Results:
    def __init__(self, settings):
        self.doc = {"machine": machine(), "settings": settings, "rows": [], "checks": [],
                    "notes": []}

    def save(self):
        self.doc["load_at_end"] = [round(x, 2) for x in os.getloadavg()]
        path = os.path.join(WORK, "results.json")
        with open(path + ".new", "w") as f:
            json.dump(self.doc, f, indent=1)
        os.replace(path + ".new", path)

    def note(self, text):
        say("  note: " + text)
        self.doc["notes"].append(text)

    def check(self, what, value, limit, at_least=False):
        """Outputs are compared before anything is timed; a difference ends the run."""
        ok = value >= limit if at_least else value <= limit
        say(f"  check: {what}: {value:.3g}, {'at least' if at_least else 'at most'} {limit:g}")
        self.doc["checks"].append({"what": what, "value": float(value), "limit": limit, "ok": bool(ok)})
        if not ok:
            raise SystemExit(f"outputs do not agree: {what} is {value:.3g}")

    def turns(self, rounds, contenders):
        """Runs each contender once a round, in the same order; returns name -> figures."""
        runs = {name: [] for name in contenders}
        for r in range(rounds):
            for name, fn in contenders.items():
                runs[name].append(fn())
            say("  round %d: %s" % (r + 1, ", ".join(f"{n} {v[-1]:.4g}" for n, v in runs.items())))
        return {name: spread(v) for name, v in runs.items()}

    def row(self, job, contender, graft, peer_name=None, peer=None, target=None, limit=None, unit="s",
            scale=1):
        """target: how often the peer's time must hold graft's; limit: what graft must stay below.
        scale multiplies graft's and the peer's figures (1000: ms)."""
        def scaled(s):
            return s and {k: [x * scale for x in v] if k == "runs" else v * scale for k, v in s.items()}
        ratio = peer["median"] / graft["median"] if peer else None
        met = None
        if target is not None:
            met = ratio >= target
        elif limit is not None:
            met = graft["median"] * scale < limit
        self.doc["rows"].append({
            "job": job, "graft_variant": contender, "graft": scaled(graft), "peer_name": peer_name,
            "peer": scaled(peer), "ratio": ratio, "target": target, "limit": limit, "unit": unit,
            "met": met})
        self.save()


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def cell(s):
    if not s:
        return "—"
    text = number(s["median"])
    return text if len(s["runs"]) < 2 else f"{text} [{number(s['min'])} – {number(s['max'])}]"


def table(doc):
    """The rows as Markdown."""
    out = ["| job | graft | median [min – max] | peer | median [min – max] | ratio | target |",
           "|---|---|---|---|---|---|---|"]
    for r in doc["rows"]:
        target = "—"
        if r["target"] is not None:
            target = f"≥ {r['target']:g}×"
        elif r["limit"] is not None:
            target = f"< {r['limit']:g} {r['unit']}"
        if r["met"] is not None:
            target += " met" if r["met"] else " **missed**"
        ratio = f"{r['ratio']:.2f}×" if r["ratio"] else "—"
        out.append(f"| {r['job']} | {r['graft_variant']} | {cell(r['graft'])} {r['unit']} | "
                   f"{r['peer_name'] or '—'} | {cell(r['peer'])}{' ' + r['unit'] if r['peer'] else ''}"
                   f" | {ratio} | {target} |")
    return "\n".join(out)
