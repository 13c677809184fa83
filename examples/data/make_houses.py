#!/usr/bin/env python3
"""Writes examples/data/houses.csv, a table as tables are: numbers, words, yes and no, an id, streets, and cells without a value.

    python3 examples/data/make_houses.py
"""

import math
import pathlib
import random

ROWS = 600
STREETS = 120
TOWNS = ["Ahlen", "Beckum", "Coesfeld", "Dülmen", "Emsdetten"]
OFFSETS = dict(zip(TOWNS, [0.0, -20.0, 35.0, 15.0, -35.0]))


def main():
    source, of_streets = random.Random(20261130), random.Random(7)
    # What houses of a street have in common, and no other column tells.
    offsets = [of_streets.gauss(0, 15) for _ in range(STREETS)]
    lines = ["id;street;town;area;built;garden;income;price"]
    for row in range(ROWS):
        # The last town is rare.
        town = source.choices(TOWNS, weights=[8, 8, 8, 8, 0.3])[0]
        area = source.uniform(40, 220)
        built = source.randint(1900, 2024)
        garden = source.random() < 0.5
        income = math.exp(source.gauss(10.3, 0.6))
        street = of_streets.randrange(STREETS)
        price = 60 + offsets[street] + 2.1 * area + OFFSETS[town] + 0.4 * (built - 1960) + 25 * garden + 30 * math.log(income / 3e4) + source.gauss(0, 12)
        cells = [
            f"{10_000 + row}",
            f"S{street:03}",
            town if source.random() > 0.04 else "",
            f"{area:.1f}".replace(".", ",") if source.random() > 0.06 else "",
            f"{built}" if source.random() > 0.08 else "unknown",
            "yes" if garden else "no",
            f"{income:.2f}".replace(".", ","),
            f"{price:.1f}".replace(".", ","),
        ]
        lines.append(";".join(cells))
    path = pathlib.Path(__file__).with_name("houses.csv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
