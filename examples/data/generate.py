#!/usr/bin/env python3
"""Writes train.csv and test.csv, the data of ../regression.yaml: generate.py [DIRECTORY].

One input in [-5, 5], one label. The 100 training points are noisy and leave a gap around x = -2 and another around
x = 2; the 100 test points lie everywhere, nearly without noise: what counts is the curve, in the gaps too. The same
two files come out on every machine: the seed is fixed, and of the standard library's generator only methods whose
sequences do not change between Python versions are used.
"""

import math
import pathlib
import random
import sys

SEED = 7
POINTS = 100
GAP = (1.5, 2.5)  # of |x|, without training points
NOISE_TRAIN = 0.5  # standard deviations: no model has a cross-validated mean squared error much below 0.5 squared
NOISE_TEST = 0.2


def curve(x):
    """The truth: two waves and a slow bend."""
    return 2.2 + 1.6 * math.sin(1.15 * x - 0.5) + 0.4 * math.cos(2.1 * x) + 0.07 * x * x


def in_gap(x):
    return GAP[0] < abs(x) < GAP[1]


def points(rng, noise, gaps):
    """POINTS rows (x, y) with x drawn evenly from [-5, 5], outside the gaps if there are any."""
    rows = []
    while len(rows) < POINTS:
        x = rng.uniform(-5.0, 5.0)
        if not (gaps and in_gap(x)):
            rows.append((x, curve(x) + rng.gauss(0.0, noise)))
    return rows


def write(path, rows):
    text = "input,label\n" + "".join(f"{x:.6f},{y:.6f}\n" for x, y in rows)
    path.write_bytes(text.encode("ascii"))


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    rng = random.Random(SEED)
    write(directory / "train.csv", points(rng, NOISE_TRAIN, gaps=True))
    write(directory / "test.csv", points(rng, NOISE_TEST, gaps=False))


if __name__ == "__main__":
    main()
