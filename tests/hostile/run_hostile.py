#!/usr/bin/env python3
"""Does every hostile input end with a clear error or a listed skip: no signal, no sanitizer report, no
wrong exit status, nothing left behind, within a minute and 1 GiB?
usage: run_hostile.py GRAFT [--only PART] [--keep DIR] [--jobs N]"""
import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time


HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS, BYTES = 60, 1 << 30
SANITIZER = re.compile(rb"Sanitizer|runtime error:|SUMMARY:|Assertion|assertion|stack smashing")
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def start(argv, root, env, case):
    if "fsize" in case:  # in blocks of 512 bytes; a write beyond then fails, as on a full disk
        argv = ["sh", "-c", "trap '' XFSZ; ulimit -f %d; exec \"$@\"" % (case["fsize"] // 512), "sh"] + argv
    out = open(case["stdout"], "wb") if "stdout" in case else subprocess.PIPE
    p = subprocess.Popen([os.fsencode(a) for a in argv], cwd=root, env=env, stdin=subprocess.DEVNULL,
                         stdout=out, stderr=subprocess.PIPE)
    texts = [b"", b""]

    def drain(i, f):
        texts[i] = f.read()

    threads = [threading.Thread(target=drain, args=(i, f)) for i, f in enumerate((p.stdout, p.stderr)) if f]
    for t in threads:
        t.start()
    return p, texts, threads


def execute(argv, root, env, case, seconds=SECONDS):
    """Exit status (negative: signal; None: time over), peak bytes, standard output and error."""
    p, texts, threads = start(argv, root, env, case)
    end = time.monotonic() + seconds
    pause, late = 0.002, False
    while True:
        pid, status, usage = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end and not late:
            late = True
            p.kill()
        time.sleep(pause)
        pause = min(pause * 1.3, 0.05)
    p.returncode = os.waitstatus_to_exitcode(status)
    for t in threads:
        t.join()
    for f in (p.stdout, p.stderr):
        if f:
            f.close()
    return None if late else p.returncode, usage.ru_maxrss * 1024, texts[0], texts[1]


def prepare_cache(kind, cache, base):
    if kind == "file":
        open(cache, "wb").write(b"text")
    elif kind == "missing-parent":
        open(os.path.dirname(cache), "wb").write(b"text")
    elif kind == "junk":
        os.makedirs(cache)
        for name in files_below(base):
            full = cache + name[len(base):]
            os.makedirs(os.path.dirname(full), exist_ok=True)
            open(full, "wb").write(random.Random(1).randbytes(65536))
    elif kind == "lock-folder":
        for name in files_below(base):
            os.makedirs(cache + name[len(base):])
    else:
        shutil.copytree(base, cache)
        for name in files_below(cache):
            with open(name, "r+b") as f:
                size = os.path.getsize(name)
                if kind == "truncated":
                    f.truncate(size // 2)
                    continue
                rnd = random.Random(2)
                for _ in range(1 + size // 500):
                    f.seek(rnd.randrange(size))
                    f.write(rnd.randbytes(1))


def files_below(folder):
    return sorted(os.path.join(d, f) for d, _, names in os.walk(folder) for f in names)


def lines_ok(err):
    """Each line is text, none is endless."""
    return not CONTROL.search(err) and all(len(line) < 4000 for line in err.split(b"\n"))


def run_case(case, graft, root, env, cache_base):
    out = os.path.join(root, "out", case["name"])
    os.makedirs(out)
    env = dict(env, GRAFT_CACHE=os.path.join(root, "cache", case["name"]))
    if "cache" in case:
        if case["cache"] == "missing-parent":
            env["GRAFT_CACHE"] += "/cache"
        prepare_cache(case["cache"], env["GRAFT_CACHE"], cache_base)
    argv = [graft] + [a.replace("{out}", os.path.relpath(out, root)) for a in case["argv"]]
    before = set(os.listdir(root))
    status, peak, stdout, err = execute(argv, root, env, case)
    wrong = []
    if status is None:
        wrong.append("still running after %d s" % SECONDS)
    elif status < 0:
        wrong.append("killed by signal %d" % -status)
    elif status not in case["exits"]:
        wrong.append("exit status %d, allowed %s" % (status, case["exits"]))
    if SANITIZER.search(err):
        wrong.append("a report on standard error")
    if peak > BYTES:
        wrong.append("%d MiB of memory" % (peak >> 20))
    if not lines_ok(err) or b"\033" in stdout:
        wrong.append("control characters or endless lines in the output")
    if "listed" in case and os.fsencode(case["listed"]) not in err:
        wrong.append("'%s' is not listed" % case["listed"])
    if os.fsencode(case.get("prints", "")) not in stdout:
        wrong.append("'%s' is not printed" % case["prints"])
    if status == 0 and "same" in case:
        with open(os.path.join(out, case["same"]), "rb") as a, open(os.path.join(root, "out", "f.npy"), "rb") as b:
            if a.read() != b.read():
                wrong.append("'%s' differs from that of an undamaged run" % case["same"])
    if status:
        says = case.get("says", os.path.basename(case.get("file", "")))
        shown = re.sub(rb"[\x00-\x1f\x7f]", b"?", os.fsencode(says))
        if not re.search(rb"^(graft\b|usage:)", err, re.M) and not case.get("silent"):
            wrong.append("no line on standard error that starts with 'graft'")
        if shown not in err:
            wrong.append("standard error does not say '%s'" % shown.decode("utf-8", "replace"))
        left = files_below(out)
        if left and not case.get("keeps"):
            wrong.append("left behind: " + ", ".join(os.path.relpath(f, out) for f in left[:5]))
    if set(os.listdir(root)) - before - {"out", "cache"}:
        wrong.append("a file in the working folder: %s" % (set(os.listdir(root)) - before))
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(os.path.join(root, "cache", case["name"]), ignore_errors=True)
    return wrong, err, peak


def main():
    args = argparse.ArgumentParser()
    args.add_argument("graft")
    args.add_argument("--only", default="")
    args.add_argument("--keep", help="write the inputs here and leave them")
    args.add_argument("--jobs", type=int, default=2)
    args.add_argument("--verbose", action="store_true", help="show what every case says")
    o = args.parse_args()
    graft = os.path.abspath(o.graft)
    root = os.path.abspath(o.keep) if o.keep else tempfile.mkdtemp(prefix="graft-hostile-")
    env = dict(os.environ, OMP_NUM_THREADS="1", LC_ALL="C.UTF-8", TZ="UTC")
    for key, value in (("ASAN_OPTIONS", "quarantine_size_mb=16:detect_leaks=1:allocator_may_return_null=1"),
                       ("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")):
        env[key] = value + ":" + env[key] if env.get(key) else value
    n_failed = n_skipped = n_passed = 0
    peaks = []
    try:
        shutil.rmtree(root, ignore_errors=True)
        # In a process of its own: the peak of a child is never below its parent's size.
        subprocess.run([sys.executable, os.path.join(HERE, "make_hostile.py"), root], check=True)
        with open(os.path.join(root, "manifest.json")) as f:
            cases = [c for c in json.load(f) if o.only in c["name"]]
        base = os.path.join(root, "cache", "base")
        os.makedirs(os.path.join(root, "out"))
        os.makedirs(os.path.join(root, "cache"))
        execute([graft, "features", "in/data/good", "--from", "in/models/backbone.onnx", "-o", "out/f.npy"], root,
                dict(env, GRAFT_CACHE=base), {})
        with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
            todo = []
            for case in cases:
                if case.get("skip_root") and os.geteuid() == 0:
                    n_skipped += 1
                else:
                    todo.append((case, pool.submit(run_case, case, graft, root, env, base)))
            for case, future in todo:
                wrong, err, peak = future.result()
                n_failed += bool(wrong)
                n_passed += not wrong
                peaks.append((peak, case["name"]))
                if wrong:
                    print("FAILED %s: %s" % (case["name"], "; ".join(wrong)))
                    print("   " + " ".join(map(ascii, case["argv"])))
                if wrong or o.verbose:
                    text = err.decode("utf-8", "replace").rstrip()
                    print("   [%s, %d MiB] %s" % (case["name"], peak >> 20, text[-1500 if wrong else -300:]),
                          flush=True)
    finally:
        if not o.keep:
            shutil.rmtree(root, ignore_errors=True)
    if n_skipped:
        print("skipped: %d cases that need a user other than root" % n_skipped)
    for peak, name in sorted(peaks)[-3:]:
        print("peak %d MiB: %s" % (peak >> 20, name))
    print("%d passed, %d failed" % (n_passed, n_failed))
    return n_failed > 0


if __name__ == "__main__":
    sys.exit(main())
