#!/usr/bin/env python3
"""Parquet files with a column of each kind, which `parquet_table.rs` is tried on: cli/tests/data/*.parquet.

    python cli/tests/data/make_parquet.py cli/tests/data

Needs pyarrow 26.
"""

import datetime
import decimal
import sys

import pyarrow
import pyarrow.parquet

ROWS = 3
UTC = datetime.timezone.utc


def table():
    moments = [datetime.datetime(2026, 1, 31, 13, 45, 0, 250_000), None, datetime.datetime(1969, 12, 31)]
    columns = {
        "whole": pyarrow.array([1, None, -(2**62)], pyarrow.int64()),
        "unsigned": pyarrow.array([0, 2**32 - 1, 7], pyarrow.uint32()),
        "single": pyarrow.array([0.1, None, float("nan")], pyarrow.float32()),
        "double": pyarrow.array([0.1, 1e20, -2.5], pyarrow.float64()),
        "half": pyarrow.array([1.5, None, -0.25], pyarrow.float16()),
        "truth": pyarrow.array([True, None, False], pyarrow.bool_()),
        "text": pyarrow.array(['a, "b"', None, "ü\n"], pyarrow.string()),
        "word": pyarrow.array(["red", "blue", "red"]).dictionary_encode(),
        "day": pyarrow.array([datetime.date(2026, 1, 31), None, datetime.date(1969, 7, 20)], pyarrow.date32()),
        "ms": pyarrow.array(moments, pyarrow.timestamp("ms")),
        "ns": pyarrow.array(moments, pyarrow.timestamp("ns", tz="UTC")),
        "price": pyarrow.array([decimal.Decimal("12.30"), None, decimal.Decimal("-0.05")], pyarrow.decimal128(10, 2)),
        "tags": pyarrow.array([["x"], None, []], pyarrow.list_(pyarrow.string())),
        "time": pyarrow.array([datetime.time(1, 2), None, None], pyarrow.time64("us")),
        "7": pyarrow.array([1, 2, 3], pyarrow.int8()),
    }
    fields = [pyarrow.field(name, column.type, nullable=name != "7") for name, column in columns.items()]
    return pyarrow.table(list(columns.values()), schema=pyarrow.schema(fields))


def main():
    folder = sys.argv[1]
    for compression in ["snappy", "zstd", "gzip", "none"]:
        pyarrow.parquet.write_table(table(), f"{folder}/{compression}.parquet", compression=compression)
    # As older programs write it: moments in 96 bits, pages of the second version, two row groups.
    pyarrow.parquet.write_table(
        table(),
        f"{folder}/older.parquet",
        use_deprecated_int96_timestamps=True,
        data_page_version="2.0",
        row_group_size=2,
        use_dictionary=False,
    )
    bytes_ = pyarrow.table({"a": [1, 2], "b": pyarrow.array([b"x", b"\xff"], pyarrow.binary())})
    pyarrow.parquet.write_table(bytes_, f"{folder}/bytes.parquet")


if __name__ == "__main__":
    main()
