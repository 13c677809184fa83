"""Temperatures and reliabilities for `worker/engine/src/calibration.rs`: by SciPy 1.17 and scikit-learn 1.9, on outputs that are too sure.

    python worker/engine/tests/data/calibration_oracle.py > worker/engine/tests/data/calibration.json
"""

import json

import numpy
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

ROWS, CLASSES, BINS = 60, 3, 15


def expected_calibration_error(probabilities, labels):
    """As Guo et al. (2017) have it: bins of equal width, each closed above."""
    predicted = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    error = 0.0
    for low in range(BINS):
        inside = (predicted > low / BINS) & (predicted <= (low + 1) / BINS)
        if inside.any():
            error += inside.mean() * abs(predicted[inside].mean() - right[inside].mean())
    return float(error)


def reliability(outputs, labels, temperature):
    probabilities = softmax(outputs / temperature, axis=1)
    wanted = numpy.eye(CLASSES)[labels]
    return {
        "log_loss": float(log_loss(labels, probabilities)),
        "brier": float(((probabilities - wanted) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(probabilities, labels),
    }


random = numpy.random.default_rng(5)
labels = random.integers(CLASSES, size=ROWS)
outputs = random.normal(scale=2.2, size=(ROWS, CLASSES))
outputs[numpy.arange(ROWS), labels] += 1.6
outputs = outputs.round(3).astype(numpy.float32).astype(float)


def loss_at(logarithm):
    return log_loss(labels, softmax(outputs / numpy.exp(logarithm), axis=1))


found = minimize_scalar(loss_at, bounds=(numpy.log(0.01), numpy.log(100)), method="bounded", options={"xatol": 1e-10})
temperature = float(numpy.exp(found.x))
print(
    json.dumps(
        {
            "outputs": outputs.round(3).tolist(),
            "labels": labels.tolist(),
            "temperature": temperature,
            "before": reliability(outputs, labels, 1.0),
            "after": reliability(outputs, labels, temperature),
        }
    )
)
