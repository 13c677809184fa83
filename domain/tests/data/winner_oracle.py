"""Reference numbers for the best trial and the importance of parameters: `python winner_oracle.py > winner.json`.

Written with Python 3.11, NumPy 2.4.6 and SciPy 1.17.1, from the formulas; none of it follows the Rust code.
"""

import json

import numpy as np
from scipy import stats

rng = np.random.default_rng(7)


def student():
    # SciPy itself is off by 1e-14 and more where t is smaller than these, and not 0.
    ts = [-1e9, -40.0, -6.5, -2.0, -1.0, -0.1, 0.0, 0.3, 1.0, 1.7, 2.776, 9.0, 300.0]
    return [[t, f, float(stats.t.cdf(t, f))] for t in ts for f in [1, 2, 3, 4, 5, 6, 9, 10, 29, 63]]


def correlated_t():
    """Corani and Benavoli: the posterior of the mean difference is Student's, with correlation 1 / k."""
    cases = []
    for k in [2, 3, 5, 10, 64]:
        for gain in [-0.5, 0.0, 0.1, 0.5, 2.0]:
            fold = rng.normal(0, 3, k)
            one, other = fold + rng.normal(0, 0.3, k), fold + gain + rng.normal(0, 0.3, k)
            difference = other - one
            rho = 1 / k
            scale = np.sqrt((1 / k + rho / (1 - rho)) * difference.var(ddof=1))
            p = 1 - stats.t.cdf(0, df=k - 1, loc=difference.mean(), scale=scale)
            cases.append([one.tolist(), other.tolist(), float(p)])
    return cases


def percentile():
    values = [np.sort(rng.normal(0, 1, n)).tolist() for n in [1, 2, 3, 20, 101]]
    return [[v, share, float(np.quantile(v, share))] for v in values for share in [0.0, 0.05, 0.5, 0.95, 1.0]]


def mean_interval():
    losses = rng.gamma(4.0, 1.0, 250).astype(np.float32)
    wide = losses.astype(np.float64)
    low, high = stats.t.interval(0.9, len(wide) - 1, wide.mean(), stats.sem(wide))
    return [losses.tolist(), float(low), float(high)]


ACTIVATIONS = ["relu", "tanh", "gelu"]


def density(coordinates, cells):
    """A mixture of truncated normal kernels, one an observation, and of the uniform distribution, in cells of equal width."""
    n = len(coordinates)
    spread = np.std(coordinates)
    quartiles = np.quantile(coordinates, [0.25, 0.75])
    spread = min(spread, (quartiles[1] - quartiles[0]) / 1.34)
    width = max(1.059 * spread * n**-0.2, 0.5 / cells)
    edges = np.linspace(0, 1, cells + 1)
    mass = np.full(cells, 1 / cells)
    for c in coordinates:
        kernel = stats.truncnorm((0 - c) / width, (1 - c) / width, loc=c, scale=width)
        mass += np.diff(kernel.cdf(edges))
    return mass / (n + 1)


def shares(values, count):
    n = len(values)
    return (np.bincount(values, minlength=count) + 1 / count) / (n + 1)


def divergence(top, everything):
    return float(np.sum((top - everything) ** 2 / everything))


def importance():
    trials = []
    for _ in range(120):
        trials.append({"activation": str(rng.choice(ACTIVATIONS)), "l2": float(10 ** rng.uniform(-5, -1)),
                       "layers": int(rng.integers(2, 8)), "momentum": float(rng.uniform(-1, 3)), "units": int(np.exp(rng.uniform(0, np.log(101))))})
    def loss(p):
        return (abs(np.log10(p["l2"]) + 3) + 0.3 * (p["activation"] != "tanh") + 0.1 * abs(p["layers"] - 4)
                + 0.02 * p["momentum"] + rng.normal(0, 0.05))
    keys = [float(loss(p)) for p in trials]
    top = np.argsort(keys, kind="stable")[:12]
    log = np.log
    ways = {
        "activation": ("choice", 3, lambda p: ACTIVATIONS.index(p["activation"])),
        "l2": ("range", 100, lambda p: (log(p["l2"]) - log(1e-5)) / (log(1e-1) - log(1e-5))),
        "layers": ("range", 6, lambda p: (p["layers"] - 2 + 0.5) / 6),
        "momentum": ("range", 100, lambda p: (p["momentum"] + 1) / 4),
        "units": ("range", 100, lambda p: (log(p["units"]) + log(p["units"] + 1)) / 2 / log(101)),
    }
    found = {}
    for name, (kind, cells, coordinate) in ways.items():
        every = np.array([coordinate(p) for p in trials])
        estimate = (lambda x: shares(x, cells)) if kind == "choice" else (lambda x: density(x, cells))
        found[name] = divergence(estimate(every[top]), estimate(every))
    total = sum(found.values())
    return {"trials": trials, "keys": keys, "importance": {name: value / total for name, value in found.items()}}


print(json.dumps({
    "student": student(),
    "correlated_t": correlated_t(),
    "percentile": percentile(),
    "mean_interval": mean_interval(),
    "importance": importance(),
}, separators=(",", ":")))
