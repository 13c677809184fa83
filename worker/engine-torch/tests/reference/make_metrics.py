"""Reference numbers for what is measured on validation rows: `python make_metrics.py > ../data/metrics.json`.

Written with Python 3.11, NumPy 2.4.6 and scikit-learn 1.9.1, whose functions give all numbers but those of a class without rows, for
which `roc_auc_score` has none. Outputs of networks and targets of numbers are float32; probabilities are softmax in float64.
"""

import json
import warnings

import numpy as np
from sklearn import metrics
from sklearn.preprocessing import label_binarize

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)


def softmax(outputs):
    outputs = outputs.astype(np.float64)
    weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def check_ties(scores):
    """Scores are equal, or so far apart that another rounding does not change their order."""
    different = np.unique(scores)
    assert np.all(np.diff(different) > 1e-12 * different[1:])


def number(value):
    return None if np.isnan(value) else float(value)


def of_classes(name, outputs, labels):
    outputs, labels = np.asarray(outputs, dtype=np.float32), np.asarray(labels)
    classes = list(range(outputs.shape[1]))
    probabilities, predicted = softmax(outputs), outputs.argmax(axis=1)
    for column in probabilities.T:
        check_ties(column)
    if len(classes) == 2:
        auc = metrics.roc_auc_score(labels, probabilities[:, 1])
        average_precision = metrics.average_precision_score(labels, probabilities[:, 1])
    else:
        auc = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro", labels=classes)
        binary = label_binarize(labels, classes=classes)
        average_precision = metrics.average_precision_score(binary, probabilities, average="macro")
    return {
        "name": name,
        "outputs": outputs.astype(float).tolist(),
        "labels": labels.tolist(),
        "metrics": {
            "val_accuracy": metrics.accuracy_score(labels, predicted),
            "val_balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "val_f1": metrics.f1_score(labels, predicted, average="macro"),
            "val_f1_weighted": metrics.f1_score(labels, predicted, average="weighted"),
            "val_auc": number(auc),
            "val_average_precision": average_precision,
            "val_log_loss": metrics.log_loss(labels, probabilities, labels=classes),
            "val_brier": metrics.brier_score_loss(labels, probabilities, labels=classes),
        },
    }


def drawn(rows, classes, step):
    """Outputs that tell something of the labels; rounded to steps, several rows have the same ones."""
    labels = rng.integers(classes, size=rows)
    outputs = rng.normal(size=(rows, classes)) + np.eye(classes)[labels]
    return (np.round(outputs / step) * step if step else outputs), labels


def repeated(rows, classes, kinds):
    """Rows of a few kinds, so that most scores are tied."""
    labels = rng.integers(classes, size=rows)
    return rng.normal(size=(kinds, classes))[rng.integers(kinds, size=rows)], labels


def all_of_classes():
    two, three = drawn(40, 2, None), drawn(60, 3, None)
    return [
        of_classes("two classes", *two),
        of_classes("two classes, ties", *drawn(60, 2, 0.5)),
        of_classes("two classes, all scores tied", np.zeros((7, 2)), [0, 1, 1, 0, 1, 0, 0]),
        of_classes("two classes, one without rows", two[0][:9], np.zeros(9, dtype=int)),
        of_classes("two classes, all of the second", two[0][:9], np.ones(9, dtype=int)),
        of_classes("two classes, all right", np.array([[3, -2], [-1, 2], [-1.5, 2.5]]), [0, 1, 1]),
        of_classes("two classes, all wrong", np.array([[3, -2], [-1, 2], [-1.5, 2.5]]), [1, 0, 0]),
        of_classes("two classes, probabilities 0 and 1", np.array([[90, -90], [-900, 900], [400, -400]]), [0, 0, 1]),
        of_classes("one row", [[0.25, 0.5, -1.0]], [1]),
        of_classes("three classes", *three),
        of_classes("three classes, ties", *repeated(90, 3, 5)),
        of_classes("three classes, one without rows", three[0][:20], np.where(three[1][:20] == 2, 0, three[1][:20])),
        of_classes("three classes, one never predicted", three[0] - [0, 9, 0], three[1]),
        of_classes("four classes, one neither there nor predicted", *(np.pad(three[0], ((0, 0), (0, 1)), constant_values=-9), three[1])),
        of_classes("three classes, one alone predicted", three[0] + [0, 0, 9], three[1]),
        of_classes("eleven classes", *drawn(150, 11, None)),
    ]


def of_numbers(name, outputs, targets):
    outputs, targets = (np.asarray(values, dtype=np.float32).astype(np.float64) for values in (outputs, targets))
    constant = np.ptp(targets) == 0
    return {
        "name": name,
        "outputs": outputs.tolist(),
        "targets": targets.tolist(),
        "metrics": {
            "val_mae": metrics.mean_absolute_error(targets, outputs),
            "val_rmse": metrics.root_mean_squared_error(targets, outputs),
            "val_mape": metrics.mean_absolute_percentage_error(targets, outputs),
            # Here scikit-learn has 0 or 1 for what is no number.
            "val_r2": None if constant else metrics.r2_score(targets, outputs),
        },
    }


def all_of_numbers():
    targets = rng.normal(size=50)
    outputs = targets + rng.normal(size=50) / 3
    return [
        of_numbers("numbers", outputs, targets),
        of_numbers("targets far from 0", outputs + 1000, targets + 1000),
        of_numbers("a target that is 0", outputs[:5], [0, *targets[1:5]]),
        of_numbers("targets that are all alike", outputs[:8], np.full(8, 2.5)),
        of_numbers("outputs that are the targets", targets, targets),
        of_numbers("one row", outputs[:1], targets[:1]),
    ]


def of_binary(name, outputs, targets):
    outputs, targets = np.asarray(outputs, dtype=np.float32), np.asarray(targets)
    probabilities, predicted = 1 / (1 + np.exp(-outputs.astype(np.float64))), (outputs > 0).astype(int)
    for column in probabilities.T:
        check_ties(column)
    # One target is a column here, and no indicator matrix.
    flat = (lambda matrix: matrix[:, 0]) if targets.shape[1] == 1 else (lambda matrix: matrix)
    known, scores, guessed = flat(targets), flat(probabilities), flat(predicted)
    f1 = {"zero_division": 0}
    # Of a column, scikit-learn has means over yes and no by default.
    means = (lambda _: {"average": "binary"}) if targets.shape[1] == 1 else (lambda average: {"average": average})
    return {
        "name": name,
        "outputs": outputs.astype(float).tolist(),
        "targets": targets.tolist(),
        "metrics": {
            "val_accuracy": 1 - metrics.hamming_loss(known, guessed),
            "val_f1": metrics.f1_score(known, guessed, **means("macro"), **f1),
            "val_f1_weighted": metrics.f1_score(known, guessed, **means("weighted"), **f1),
            "val_auc": number(metrics.roc_auc_score(known, scores)),
            "val_average_precision": metrics.average_precision_score(known, scores),
        },
    }


def all_of_binary():
    targets = (rng.random((50, 3)) < [0.5, 0.2, 0.8]).astype(int)
    outputs = rng.normal(size=(50, 3)) + 2 * targets - 1
    never = np.where(np.arange(3) == 1, 0, targets)
    return [
        of_binary("three targets", outputs, targets),
        of_binary("three targets, ties", np.round(outputs * 2) / 2 + 0.25, targets),
        of_binary("two targets", outputs[:, :2], targets[:, :2]),
        of_binary("two targets that are one class each", outputs[:, :2], np.column_stack([targets[:, 0], 1 - targets[:, 0]])),
        of_binary("one target", outputs[:, :1], targets[:, :1]),
        of_binary("a target that is never yes", outputs, never),
        of_binary("a target that is neither yes nor predicted", np.where(np.arange(3) == 1, -1 - outputs**2, outputs), never),
        of_binary("nothing is yes", outputs[:9], np.zeros((9, 3), dtype=int)),
        of_binary("outputs of 0 are no", np.zeros((4, 2)), [[0, 1], [1, 0], [1, 1], [0, 0]]),
    ]


def lines(cases):
    return "[\n" + ",\n".join(map(json.dumps, cases)) + "\n]"


classes, numbers, binary = lines(all_of_classes()), lines(all_of_numbers()), lines(all_of_binary())
print(f'{{"classes": {classes}, "numbers": {numbers}, "binary": {binary}}}')
