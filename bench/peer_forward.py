"""onnxruntime fp32 on arrays that are already in memory.

usage: peer_forward.py MODEL INPUTS.npy BATCH N_PICTURES OUT.npy
Runs N_PICTURES / BATCH batches over and over the inputs; the session is made and warmed before."""
import sys
import time

import numpy as np
import onnxruntime

from harness import peer_main

model, inputs, batch, n, out = sys.argv[1:]
batch, n = int(batch), int(n)
x = np.load(inputs)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
batches = [np.ascontiguousarray(x[i:i + batch]) for i in range(0, len(x), batch)]
np.save(out, np.concatenate([session.run(None, {name: b})[0].reshape(batch, -1) for b in batches]))


def job(_):
    start = time.perf_counter()
    for i in range(n // batch):
        session.run(None, {name: batches[i % len(batches)]})
    return {"seconds": time.perf_counter() - start}


peer_main({"how": "onnxruntime"}, job)
