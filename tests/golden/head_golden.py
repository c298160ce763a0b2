"""Writes head_logistic.raw and head_metrics.raw: what scikit-learn and SciPy answer.

Little-endian; the order of the fields is that of the writes below.
"""
import sys
import numpy as np
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

out = sys.argv[1] if len(sys.argv) > 1 else "."
rng = np.random.default_rng(7)


def put(f, a, dtype):
    np.ascontiguousarray(a, dtype).tofile(f)


# heads: 160 examples, 20 features (3 is constant, 5 far from 0), 4 unequal classes
n, d, c = 160, 20, 4
y = np.sort(rng.choice(c, n, p=[0.5, 0.25, 0.15, 0.1]))
rng.shuffle(y)
x = rng.normal(size=(n, d)) + rng.normal(size=(c, d))[y] * 0.6
x[:, 3] = 7
x[:, 5] = x[:, 5] * 0.5 + 100
x = x.astype(np.float32)
z = StandardScaler().fit_transform(x.astype(np.float64))
with open(f"{out}/head_logistic.raw", "wb") as f:
    put(f, [n, d, c], np.int32)
    put(f, x, np.float32)
    put(f, y, np.int32)
    for lam, weight in ((0.01, None), (0.1, "balanced")):
        m = LogisticRegression(C=1 / (n * lam), class_weight=weight, tol=1e-10, max_iter=10000)
        m.fit(z, y)
        p = m.predict_proba(z)
        w = np.ones(n) if weight is None else (n / (c * np.bincount(y)))[y]
        loss = -(w * np.log(p[np.arange(n), y])).sum() / w.sum() + lam / 2 * (m.coef_**2).sum()
        put(f, [lam, loss], np.float64)
        put(f, p, np.float64)
    put(f, KNeighborsClassifier(5).fit(z, y).predict_proba(z), np.float64)
    put(f, NearestCentroid().fit(z, y).predict(z), np.int32)

# metrics: 7 classes, 6 neither true nor predicted, 5 predicted but never true
n, c = 200, 7
y = rng.integers(0, 5, n)
p = rng.dirichlet(np.ones(c), n) + 0.7 * np.eye(c)[y] * rng.random((n, 1))
p[:, 6] *= 0.01
p = (p / p.sum(1, keepdims=True)).astype(np.float32)
q = p.argmax(1)
assert 5 in q and 6 not in q
conf, right, ece = p.max(1).astype(np.float64), q == y, 0.0
for lo in range(15):
    inside = (conf > lo / 15) & (conf <= (lo + 1) / 15)
    if inside.any():
        ece += inside.mean() * abs(right[inside].mean() - conf[inside].mean())
wilson = binomtest(int(right.sum()), n).proportion_ci(method="wilson")
with open(f"{out}/head_metrics.raw", "wb") as f:
    put(f, [n, c], np.int32)
    put(f, p, np.float32)
    put(f, y, np.int32)
    put(f, [metrics.accuracy_score(y, q),
            metrics.top_k_accuracy_score(y, p, k=5, labels=np.arange(c)),
            np.mean(metrics.recall_score(y, q, labels=np.unique(y), average=None)),
            metrics.f1_score(y, q, average="macro", zero_division=0),
            metrics.log_loss(y, p.astype(np.float64) / p.sum(1, dtype=np.float64, keepdims=True),
                             labels=np.arange(c)),
            ece, wilson.low, wilson.high], np.float64)
    put(f, np.array(metrics.precision_recall_fscore_support(
        y, q, labels=np.arange(c), zero_division=0)).T, np.float64)
    put(f, metrics.confusion_matrix(y, q, labels=np.arange(c)), np.int32)
    for a, b in ((0, 0), (3, 12), (40, 22), (500, 420)):
        put(f, [a, b, binomtest(a, a + b).pvalue if a + b else 1], np.float64)
