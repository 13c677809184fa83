#!/usr/bin/env python3
"""Writes pictures of circles, squares and triangles, a folder a class: examples/data/shapes/train and test.

    python3 examples/data/make_shapes.py [FOLDER]

The pictures are of several sizes and shapes, as pictures are.
"""

import pathlib
import random
import struct
import sys
import zlib

CLASSES = ["circle", "square", "triangle"]
TRAIN, TEST = 80, 20


def is_inside(kind, x, y):
    """Whether a point is in the shape, in coordinates from -1 to 1."""
    if kind == "circle":
        return x * x + y * y < 1
    if kind == "square":
        return max(abs(x), abs(y)) < 0.9
    return -0.8 < y < 0.8 and abs(x) < (0.8 - y) / 1.6


def png(width, height, rows):
    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"".join(b"\0" + bytes(row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def picture(kind, source):
    side = source.randint(24, 40)
    width, height = side + source.randint(0, 12), side
    middle = (width / 2 + source.uniform(-3, 3), height / 2 + source.uniform(-3, 3))
    radius = source.uniform(0.25, 0.4) * side
    paint = [source.randint(120, 255) for _ in range(3)]
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            there = is_inside(kind, (x - middle[0]) / radius, (y - middle[1]) / radius)
            base = paint if there else (40, 40, 40)
            row += [max(0, min(255, shade + source.randint(-30, 30))) for shade in base]
        rows.append(row)
    return png(width, height, rows)


def main():
    here = pathlib.Path(__file__).parent / "shapes"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    source = random.Random(20261130)
    for part, count in [("train", TRAIN), ("test", TEST)]:
        for kind in CLASSES:
            place = folder / part / kind
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (place / f"{number:03}.png").write_bytes(picture(kind, source))


if __name__ == "__main__":
    main()
