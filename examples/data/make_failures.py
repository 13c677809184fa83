#!/usr/bin/env python3
"""Writes examples/data/failures.csv: pumps, of which one in sixteen fails within a month.

    python3 examples/data/make_failures.py
"""

import datetime
import math
import pathlib
import random

ROWS = 1600
FAILURES = ROWS // 16
SITES = ["harbour", "north", "quarry", "works"]
RISKS = dict(zip(SITES, [0.8, 0.0, 1.1, -0.4]))
SERVICED_FROM = datetime.date(2026, 1, 1)


def main():
    source = random.Random(20261130)
    pumps = []
    for _ in range(ROWS):
        site = source.choice(SITES)
        hours = source.uniform(0, 9000)
        vibration = math.exp(source.gauss(0.3, 0.5))
        pressure = source.gauss(6.2, 0.8)
        serviced = SERVICED_FROM + datetime.timedelta(days=source.randrange(300))
        days = 300 - (serviced - SERVICED_FROM).days
        # Either much vibration or a pressure far from 6.2 is no harm to a pump that was serviced lately.
        wear = 0.5 * vibration + 0.7 * abs(pressure - 6.2) + hours / 6000
        risk = RISKS[site] + 1.6 * wear * days / 150 + source.gauss(0, 0.5)
        cells = [
            site,
            f"{hours:.0f}",
            f"{vibration:.3f}" if source.random() > 0.05 else "",
            f"{pressure:.2f}",
            serviced.isoformat(),
        ]
        pumps.append((risk, cells))
    least = sorted(risk for risk, _ in pumps)[-FAILURES]
    lines = ["site,hours,vibration,pressure,serviced,failed"]
    lines += [",".join([*cells, "yes" if risk >= least else "no"]) for risk, cells in pumps]
    path = pathlib.Path(__file__).with_name("failures.csv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
