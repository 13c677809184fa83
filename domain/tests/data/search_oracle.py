"""Reference numbers for the parts of the samplers that learn: `python search_oracle.py > search.json`.

Written with Python 3.11, mpmath 1.4.1, NumPy 2.4.6, SciPy 1.17.1 and Optuna 5.0.0. What is not Optuna's is computed from the formulas in 50 digits, derivatives by
differences; none of it follows the Rust code. Points are given as configurations, so that the way to coordinates is checked too.
"""

import json
import random

import mpmath as mp
import numpy as np
import optuna
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_gamma, default_weights
from scipy.stats import truncnorm

mp.mp.dps = 50
rng = random.Random(7)


def phi(z):
    return mp.npdf(z)


def cdf(z):
    return mp.erfc(-mp.mpf(z) / mp.sqrt(2)) / 2


def quantile(p):
    p = mp.mpf(p)
    if p > 0.5:
        # As double: 1 - p is exact for p in [0.5, 1].
        return -quantile(1 - p)
    guess = -mp.sqrt(-2 * mp.log(p)) if p < 0.01 else mp.mpf(0)
    return mp.findroot(lambda z: mp.log(cdf(z)) - mp.log(p), guess)


def normal():
    zs = [-38.0, -20.0, -8.0, -3.5, -3.0, -2.999, -1.0, -0.1, 0.0, 0.3, 1.0, 2.5, 6.0]
    ps = [1e-300, 1e-20, 1e-6, 0.001, 0.02, 0.0749, 0.0751, 0.3, 0.5, 0.6, 0.925, 0.99, 0.999999]
    pairs = [(-9.0, -8.0), (-1.0, 2.0), (3.0, 3.5), (8.0, 9.0), (0.5, 30.0)]
    return {
        "distribution": [[z, float(cdf(z))] for z in zs],
        "ln_density": [[z, float(mp.log(phi(z)))] for z in zs],
        "quantile": [[p, float(quantile(p))] for p in ps],
        "interval": [[a, b, float(cdf(-a) - cdf(-b)) if a > 0 else float(cdf(b) - cdf(a))] for a, b in pairs],
        "cut_quantile": [[a, b, u, float(cut_quantile(a, b, u))] for a, b in pairs for u in (0.0, 1e-9, 0.25, 0.5, 0.875, 1 - 2**-40)],
    }


def cut_quantile(a, b, u):
    """The number below which a share u of the draws from [a, b] is."""
    # The upper half mirrored, where no digits cancel.
    if a > 0:
        return -cut_quantile(-b, -a, 1 - mp.mpf(u))
    p = cdf(a) + mp.mpf(u) * (cdf(b) - cdf(a))
    return mp.mpf(a) if u == 0 else mp.mpf(b) if u == 1 else quantile(p)


def bells():
    """Mean, standard deviation, ends, share of draws, and the values of a normal and of a log-normal distribution there, cut to the ends."""
    rows = []
    for mean, std, low, high in ((0.5, 0.25, 0.1, 0.9), (-7.0, 1.5, 1e-5, 0.1), (3.0, 0.5, 1.0, 4.0), (0.0, 2.0, 0.5, 200.0)):
        ends = [((x - mean) / std) for x in (low, high)]
        log_ends = [(float(np.log(x)) - mean) / std for x in (low, high)]
        for u in (0.0001, 0.25, 0.5, 0.9, 0.9999):
            normal = truncnorm.ppf(u, *ends, loc=mean, scale=std)
            log_normal = np.exp(truncnorm.ppf(u, *log_ends, loc=mean, scale=std))
            rows.append([mean, std, low, high, u, float(normal), float(log_normal)])
    return rows


ACTIVATIONS = ["relu", "tanh", "gelu"]


def configuration():
    return {"activation": rng.choice(ACTIVATIONS), "l2": 10 ** rng.uniform(-5, -1), "layers": rng.randint(2, 7),
            "momentum": rng.uniform(-1, 3), "units": rng.randint(1, 100)}


def coordinates(c):
    """In the order of names. l2 is log-uniform in [1e-5, 1e-1), layers in 2..=7, momentum in [-1, 3), units log-uniform in 1..=100."""
    ln = mp.log
    l2 = (ln(mp.mpf(c["l2"])) - ln(mp.mpf(1e-5))) / (ln(mp.mpf(1e-1)) - ln(mp.mpf(1e-5)))
    units = (ln(c["units"]) + ln(c["units"] + 1)) / 2 / ln(101)
    return [c["activation"], l2, (mp.mpf(c["layers"] - 2) + 0.5) / 6, (mp.mpf(c["momentum"]) + 1) / 4, units]


def covariance(a, b, theta):
    *lengths, signal, _ = [mp.exp(t) for t in theta]
    r2 = mp.mpf(0)
    for x, y, length in zip(coordinates(a), coordinates(b), lengths):
        difference = (0 if x == y else 1) if isinstance(x, str) else x - y
        r2 += (difference / length) ** 2
    r = mp.sqrt(r2)
    return signal * (1 + mp.sqrt(5) * r + mp.mpf(5) / 3 * r2) * mp.exp(-mp.sqrt(5) * r)


def matrix(points, theta):
    noise = mp.exp(theta[-1])
    return mp.matrix([[covariance(a, b, theta) + (noise if i == j else 0) for j, b in enumerate(points)]
                      for i, a in enumerate(points)])


def ln_likelihood(points, outputs, theta):
    k, y = matrix(points, theta), mp.matrix(outputs)
    return (-(y.T * mp.lu_solve(k, y))[0] / 2 - mp.log(mp.det(k)) / 2 - mp.mpf(len(points)) / 2 * mp.log(2 * mp.pi))


def process():
    theta = [mp.mpf(t) for t in (-0.25, -0.5, 0.125, 0.0, -1.0, 0.25, -3.0)]
    points = [configuration() for _ in range(9)]
    outputs = [mp.mpf(round(rng.gauss(0, 1), 3)) for _ in points]
    pending = [configuration() for _ in range(3)]
    asked = [configuration() for _ in range(4)]
    gradient = [mp.diff(lambda t, i=i: ln_likelihood(points, outputs, [*theta[:i], t, *theta[i + 1:]]), theta[i])
                for i in range(len(theta))]
    known = matrix(points, theta)
    everything = matrix(points + pending, theta)
    beliefs = []
    for point in asked:
        mean = (mp.matrix([covariance(point, p, theta) for p in points]).T * mp.lu_solve(known, mp.matrix(outputs)))[0]
        k = mp.matrix([covariance(point, p, theta) for p in points + pending])
        variance = covariance(point, point, theta) - (k.T * mp.lu_solve(everything, k))[0]
        beliefs.append({"params": point, "mean": float(mean), "variance": float(variance)})
    return {
        "theta": [float(t) for t in theta], "points": points, "outputs": [float(y) for y in outputs], "pending": pending,
        "covariance": [float(covariance(points[0], p, theta)) for p in points],
        "ln_likelihood": float(ln_likelihood(points, outputs, theta)), "gradient": [float(g) for g in gradient],
        "beliefs": beliefs,
    }


def parzen():
    """Densities of Optuna's estimator; those of floats are per unit of the range here, as coordinates are in [0, 1)."""
    # Points with equal coordinates have no order in NumPy's default sort; trawl has them in trial order.
    unstable = np.argsort
    np.argsort = lambda array, kind="stable": unstable(array, kind=kind)
    space = {
        "activation": optuna.distributions.CategoricalDistribution(ACTIVATIONS),
        "layers": optuna.distributions.IntDistribution(2, 7),
        "momentum": optuna.distributions.FloatDistribution(-1, 3),
    }
    parameters = _ParzenEstimatorParameters(prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False,
                                            weights=default_weights, multivariate=True)
    cases = []
    for count in (0, 1, 2, 12, 60):
        points = [{key: value for key, value in configuration().items() if key in space} for _ in range(count)]
        asked = [{key: value for key, value in configuration().items() if key in space} for _ in range(3)]

        def internal(configurations):
            return {key: np.array([d.to_internal_repr(c[key]) for c in configurations]) for key, d in space.items()}

        density = _ParzenEstimator(internal(points), space, parameters).log_pdf(internal(asked)) + np.log(4.0)
        cases.append({"points": points, "asked": [{"params": c, "ln_density": float(d)} for c, d in zip(asked, density)]})
    return {
        "cases": cases,
        "good": [[n, default_gamma(n)] for n in (1, 9, 10, 11, 99, 240, 241, 250, 251, 10_000)],
        "weights": [default_weights(n).tolist() for n in (0, 1, 24, 25, 26, 27, 40)],
        # Centre, width, share of draws, and the coordinate that is drawn on [0, 1].
        "draws": [[c, w, u, float(truncnorm.ppf(u, -c / w, (1 - c) / w, loc=c, scale=w))]
                  for c, w in ((0.5, 1.0), (0.02, 0.1), (0.97, 0.01)) for u in (0.001, 0.3, 0.5, 0.95)],
    }


print(json.dumps({"normal": normal(), "process": process(), "parzen": parzen(), "bells": bells()}))
