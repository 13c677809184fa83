"""Reference splits: `python splits_oracle.py > splits.json`.

Written with Python 3.11, NumPy 2.4.6 and scikit-learn 1.9.1. Nothing is shuffled, so that rows can be compared and not only their numbers.
"""

import json

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold, StratifiedShuffleSplit, TimeSeriesSplit

rng = np.random.default_rng(7)


def by_appearance(values):
    """The same values, numbered in the order in which they come."""
    numbers = {}
    return [numbers.setdefault(int(value), len(numbers)) for value in values]


def labels(rows, classes):
    """Labels of some classes, the later ones rare."""
    return by_appearance(rng.choice(classes, rows, p=np.arange(classes, 0, -1) / np.arange(1, classes + 1).sum()))


def fold_of_each_row(splitter, labels, groups=None):
    fold = np.zeros(len(labels), int)
    for number, (_, test) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        fold[test] = number
    return fold.tolist()


def stratified_k_fold():
    cases = [(k, labels(rows, classes)) for rows, classes, k in [(30, 2, 3), (101, 4, 5), (64, 3, 10), (200, 7, 6)]]
    return [[k, y, fold_of_each_row(StratifiedKFold(k), y)] for k, y in cases]


def stratified_holdout():
    """Rows of each class that are held out. Where two classes have one remainder, chance decides between them: there is no such case."""
    cases = []
    for rows, classes, held_out in [(30, 2, 6), (101, 4, 33), (64, 3, 7), (200, 7, 41), (97, 5, 80)]:
        y = labels(rows, classes)
        drawn = set()
        for seed in range(20):
            _, test = next(StratifiedShuffleSplit(1, test_size=held_out, random_state=seed).split(np.zeros(rows), y))
            drawn.add(tuple(np.bincount(np.array(y)[test], minlength=max(y) + 1).tolist()))
        if len(drawn) == 1:
            cases.append([held_out, y, list(drawn.pop())])
    return cases


def groups(rows, count):
    """The group of each row, some of them large."""
    return by_appearance((count * rng.random(rows) ** 2).astype(int))


def group_k_fold():
    """Rows of the folds, ascending: which group of equals comes first is nobody's business."""
    cases = []
    for rows, count, k in [(40, 9, 3), (150, 30, 5), (90, 12, 4), (300, 60, 10)]:
        of_rows = groups(rows, count)
        fold = fold_of_each_row(GroupKFold(k), np.zeros(rows), of_rows)
        cases.append([k, of_rows, sorted(np.bincount(fold, minlength=k).tolist())])
    return cases


def stratified_group_k_fold():
    """The fold of each row. Groups are numbered as they come, which is the order in which scikit-learn sorts them."""
    cases = []
    for rows, count, classes, k in [(60, 12, 2, 3), (200, 40, 3, 5), (120, 25, 4, 4)]:
        y, of_rows = labels(rows, classes), groups(rows, count)
        cases.append([k, y, of_rows, fold_of_each_row(StratifiedGroupKFold(k), np.array(y), np.array(of_rows))])
    return cases


def time_series():
    """For each fold the first row that validates and the first one behind it, of rows in order."""
    cases = []
    for rows, k in [(12, 3), (50, 4), (101, 10)]:
        tests = [test for _, test in TimeSeriesSplit(k).split(np.zeros(rows))]
        cases.append([rows, k, [[int(test[0]), int(test[-1]) + 1] for test in tests]])
    return cases


print(json.dumps({
    "stratified_k_fold": stratified_k_fold(),
    "stratified_holdout": stratified_holdout(),
    "group_k_fold": group_k_fold(),
    "stratified_group_k_fold": stratified_group_k_fold(),
    "time_series": time_series(),
}, separators=(",", ":")))
