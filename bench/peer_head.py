"""scikit-learn's logistic regression (lbfgs) on the features that head.c gets, at the same loss.

usage: peer_head.py X.f32 Y.i32 N D CLASSES LAMBDA LOSS
The objective is mean cross-entropy + LAMBDA/2 |W|^2 on standardised features. The loosest tolerance
that reaches LOSS (within 0.01 %) is found first; the timed job is standardising and fitting with it."""
import sys
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from harness import peer_main

n, d, classes = (int(v) for v in sys.argv[3:6])
lam, wanted = float(sys.argv[6]), float(sys.argv[7])
x = np.fromfile(sys.argv[1], np.float32).reshape(n, d)
y = np.fromfile(sys.argv[2], np.int32)


def fit(tol):
    start = time.perf_counter()
    z = StandardScaler().fit_transform(x)
    m = LogisticRegression(C=1 / (n * lam), tol=tol, max_iter=1000).fit(z, y)
    return time.perf_counter() - start, m, z


def objective(m, z):
    total = 0.0
    for i in range(0, n, 4096):
        s = m.decision_function(z[i:i + 4096]).astype(np.float64)
        top = s.max(1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(s - top).sum(1))
        total += (log_sum - s[np.arange(len(s)), y[i:i + 4096]]).sum()
    return total / n + lam / 2 * float((m.coef_.astype(np.float64) ** 2).sum())


for tol in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7):
    seconds, model, z = fit(tol)
    loss = objective(model, z)
    if loss <= wanted * 1.0001:
        break
del z


def job(_):
    s, m, _ = fit(tol)
    return {"seconds": s, "iterations": int(m.n_iter_[0])}


peer_main({"loss": loss, "tol": tol, "iterations": int(model.n_iter_[0]), "seconds": seconds}, job)
