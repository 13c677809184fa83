#!/usr/bin/env python3
"""What scikit-learn's pipelines make of a table, fitted on some of its rows: worker/engine-torch/tests/data/preparation.json.

    python worker/engine-torch/tests/reference/preparation_oracle.py > worker/engine-torch/tests/data/preparation.json

Needs scikit-learn 1.9 and pandas.
"""

import io
import json

import numpy
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, QuantileTransformer, StandardScaler

ROWS = 24
# The first word of the column colour stands in a row that is not fitted on, and nowhere else.
TRAIN = [row for row in range(ROWS) if row % 3 != 0]


def table():
    random = numpy.random.default_rng(3)
    lines = ["age,income,colour,y"]
    for row in range(ROWS):
        age = "" if row % 7 == 2 else f"{random.integers(18, 90)}"
        income = "NA" if row % 5 == 4 else f"{random.lognormal(10, 1):.2f}"
        colour = "amber" if row == 9 else ["red", "blue", "green"][int(random.integers(3))]
        lines.append(f"{age},{income},{colour},{random.normal():.3f}")
    return "\n".join(lines) + "\n"


def numbers(scale, missing):
    scalers = {
        "standardize": [("scale", StandardScaler())],
        "min_max": [("scale", MinMaxScaler())],
        "quantile": [("scale", QuantileTransformer(n_quantiles=256, subsample=None, output_distribution="normal"))],
        "log1p": [("log", FunctionTransformer(numpy.log1p)), ("scale", StandardScaler())],
        "none": [],
    }
    imputer = SimpleImputer(strategy=missing) if missing in ("mean", "median") else SimpleImputer(strategy="constant", fill_value=float(missing))
    return Pipeline([("impute", imputer), *scalers[scale]])


def many():
    """Numbers that are more than there are quantiles, some of them equal. float32 has all of them."""
    random = numpy.random.default_rng(5)
    values = numpy.round(random.lognormal(2, 1, 700) * 64) / 64
    values[::9] = 3.0
    train = [row for row in range(len(values)) if row % 5 != 0]
    scaler = QuantileTransformer(n_quantiles=256, subsample=None, output_distribution="normal").fit(values[train].reshape(-1, 1))
    rows = scaler.transform(values.reshape(-1, 1)).ravel()
    return {"values": values.tolist(), "train": train, "rows": rows.tolist()}


def images():
    """Bytes [rows, channels, height, width], by channel, after a division by 255."""
    random = numpy.random.default_rng(7)
    shape = (6, 3, 2, 3)
    pixels = random.integers(0, 256, shape, dtype=numpy.uint8)
    pixels[:, 1] //= 4
    train = [0, 2, 3, 5]
    by_channel = numpy.moveaxis(pixels / 255, 1, -1)
    cases = {}
    for scale, scaler in [("standardize", StandardScaler()), ("min_max", MinMaxScaler())]:
        scaler.fit(by_channel[train].reshape(-1, shape[1]))
        rows = scaler.transform(by_channel.reshape(-1, shape[1])).reshape(by_channel.shape)
        cases[scale] = numpy.moveaxis(rows, -1, 1).ravel().tolist()
    return {"shape": shape, "pixels": pixels.ravel().tolist(), "train": train, **cases}


def main():
    csv = table()
    frame = pandas.read_csv(io.StringIO(csv), keep_default_na=True)
    words = sorted(frame["colour"].unique())
    cases = []
    for scale, missing in [("standardize", "mean"), ("standardize", "median"), ("min_max", "mean"), ("quantile", "median"), ("log1p", "median"), ("none", "-1.5")]:
        columns = []
        names = []
        for column in ("age", "income"):
            both = FeatureUnion([("value", numbers(scale, missing)), ("gap", MissingIndicator(features="all"))])
            columns.append((column, both, [column]))
            names += [column, f"{column} is missing"]
        columns.append(("colour", OneHotEncoder(categories=[words], handle_unknown="ignore", sparse_output=False), ["colour"]))
        names += [f"colour={word}" for word in words] + ["colour is missing"]
        fitted = ColumnTransformer(columns).fit(frame.iloc[TRAIN])
        rows = fitted.transform(frame)
        # A word that no row was fitted on is none of them, as where the encoder finds its categories itself.
        seen = set(frame["colour"].iloc[TRAIN])
        for place, word in enumerate(words):
            if word not in seen:
                rows[:, 4 + place] = 0.0
        rows = [[*map(float, row), 0.0] for row in rows]
        cases.append({"scale": scale, "missing": missing, "names": names, "rows": rows})
    print(json.dumps({"csv": csv, "train": TRAIN, "cases": cases, "many": many(), "images": images()}, indent=1))


if __name__ == "__main__":
    main()
