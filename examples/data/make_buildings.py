#!/usr/bin/env python3
"""Writes examples/data/buildings.csv: a building's shape, and the energy that it takes to heat and to cool it.

    python3 examples/data/make_buildings.py
"""

import pathlib
import random

ROWS = 480
SIDES = ["north", "east", "south", "west"]


def main():
    source = random.Random(20261130)
    lines = ["compactness,height,glazing,faces,heating,cooling"]
    for _ in range(ROWS):
        compactness = source.uniform(0.6, 1.0)
        height = source.choice([3.5, 7.0])
        glazing = source.choice([0.0, 0.1, 0.25, 0.4])
        side = source.choice(SIDES)
        surface = height * 12 / compactness
        heating = 0.25 * surface + 18 * glazing - (2.5 if side == "south" else 0) + source.gauss(0, 0.8)
        # In another unit: a loss of both would see little else.
        cooling = 1000 * (0.2 * surface + 30 * glazing + (3 if side == "west" else 0) + source.gauss(0, 0.8))
        lines.append(f"{compactness:.3f},{height},{glazing},{side},{heating:.2f},{cooling:.0f}")
    path = pathlib.Path(__file__).with_name("buildings.csv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
