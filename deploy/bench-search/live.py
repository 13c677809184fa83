#!/usr/bin/env python3
"""A search that learns and races against random search, as trawl runs them: the regression study, examples/regression.json.

    python deploy/bench-search/live.py --binaries target/release --postgres ~/.cache/trawl/postgres-18.6 --seeds 20

For each seed of a study, the best value of a random search after 50 trials and after 300; and that of a search with as many trials as
certainly train in no more than the epochs of folds of 50 whole ones. Both as medians over the seeds.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

import tables
from service import Trawl

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANDOM_TRIALS = 300
EQUIVALENTS = 50


def study(seed, sampler, raced, trials):
    """The regression study with other settings."""
    with open(ROOT / "examples" / "regression.json") as file:
        described = json.load(file)["study"]
    files = described["dataset"]["csv"]
    for part in ("train", "test"):
        files[part] = str(ROOT / files[part])
    del described["refit"]
    described |= {"name": f"{next(iter(sampler))}-{seed}", "seed": seed, "sampler": sampler, "max_trials": trials}
    if raced:
        # The usual ladder.
        del described["racing"]
    return described


def best(trawl, name, trials):
    """Of the first trials."""
    ((value,),) = trawl.rows(f"SELECT min(value) FROM trawl.trials WHERE study = '{name}' AND trial < {trials} AND state = 'completed'")
    return float(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="folder of trawl, trawl-coordinator and trawl-worker")
    parser.add_argument("--postgres", type=pathlib.Path, required=True, help="folder of Postgres, of which psql is used")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sampler", default="gp", help="one that learns")
    parser.add_argument("--generation", type=int, default=16)
    parser.add_argument("--lag", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    sampler = {arguments.sampler: {}, "generation": arguments.generation, "lag": arguments.lag}
    values = []
    with Trawl(arguments.binaries, arguments.postgres, tables.CACHE / "up", arguments.workers) as trawl:
        for seed in range(1, arguments.seeds + 1):
            random = study(seed, {"random": {}}, False, RANDOM_TRIALS)
            epochs, folds = random["training"]["epochs"], random["validation"]["k_fold"]
            generations = EQUIVALENTS * folds * epochs // epochs_of_generation(arguments.generation, epochs, folds)
            learned = study(seed, sampler, True, generations * arguments.generation)
            for described in (random, learned):
                trawl.run(described)
            ((spent,),) = trawl.rows(f"SELECT count(*) FROM trawl.epoch_reports WHERE study = '{learned['name']}'")
            if int(spent) > EQUIVALENTS * folds * epochs:
                raise RuntimeError(f"{learned['name']}: {spent} epochs of folds")
            of_seed = (best(trawl, random["name"], EQUIVALENTS), best(trawl, random["name"], RANDOM_TRIALS),
                       best(trawl, learned["name"], learned["max_trials"]))
            values.append(of_seed)
            print(f"seed {seed}:", *(f"{value:.4f}" for value in of_seed), f"{spent} epochs", file=sys.stderr)
    at_50, at_300, learned = zip(*values)
    print(f"\nBest value of examples/regression.json, median over {len(values)} seeds\n")
    print("| search | epochs of folds | value |\n| --- | ---: | ---: |")
    print(f"| random, {EQUIVALENTS} trials | {EQUIVALENTS * folds * epochs} | {statistics.median(at_50):.4f} |")
    print(f"| random, {RANDOM_TRIALS} trials | {RANDOM_TRIALS * folds * epochs} | {statistics.median(at_300):.4f} |")
    print(f"| {arguments.sampler}, raced | at most {EQUIVALENTS * folds * epochs} | {statistics.median(learned):.4f} |")
    print(f"\nThe raced one is better than 300 trials of its seed's random search {sum(a < b for a, b in zip(learned, at_300))} times.")


def epochs_of_generation(trials, epochs, folds):
    """What the usual ladder trains at most: one fold for a ninth, a third and all of the epochs, then the other folds; half goes on from each."""
    spent, before = 0, 0
    for end in (round(epochs / 9), round(epochs / 3), epochs):
        spent += trials * (end - before)
        trials, before = -(-trials // 2), end
    return spent + trials * (folds - 1) * epochs


if __name__ == "__main__":
    main()
