"""Draws the Mandelbrot set, a band of rows per task, and puts the bands together to a PNG.

Shows tasks of very uneven cost (a band through the middle takes fifty times the steps of one at the edge), results
that are `bytes`, and a second job whose input is the first one's output:

    ppwasm submit job.py:band --range 0-39 --output json > bands.json
    ppwasm submit job.py:summary --input bands.json

Only additions and multiplications decide when a point escapes, and only integers which colour it gets, so the
picture is the same on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 960, 640
BANDS = 40
ROWS = HEIGHT // BANDS
CENTRE_X, CENTRE_Y = -0.65, 0.0
STEP = 1 / 280  # distance between two neighbouring points
ITERATIONS_MAX = 256

Colour = tuple[int, int, int]
INSIDE: Colour = (0, 0, 0)
# Outside the set: from the first colour, far away, to the last, at its edge.
STOPS: list[Colour] = [(4, 8, 40), (16, 70, 150), (60, 160, 210), (245, 245, 225), (250, 180, 50), (150, 50, 20)]


def escape_time(x: float, y: float) -> int:
    """Return after how many steps of z = z*z + c, with c = x + yi, z leaves the circle of radius 2."""
    real = imaginary = 0.0
    for iteration in range(ITERATIONS_MAX):
        real_squared, imaginary_squared = real * real, imaginary * imaginary
        if real_squared + imaginary_squared > 4.0:
            return iteration
        imaginary = 2.0 * real * imaginary + y
        real = real_squared - imaginary_squared + x
    return ITERATIONS_MAX


def band(index: int) -> bytes:
    """Return the escape times of a band's points, row by row, two bytes each, low byte first."""
    times = array("H")
    for row in range(index * ROWS, (index + 1) * ROWS):
        y = CENTRE_Y + ((HEIGHT - 1) / 2 - row) * STEP
        times.extend(escape_time(CENTRE_X + (column - (WIDTH - 1) / 2) * STEP, y) for column in range(WIDTH))
    return struct.pack(f"<{len(times)}H", *times)


def task_values(path: str) -> list[Any]:
    """Return the values in a file that `ppwasm submit --output json` wrote, in task order."""
    return [task["value"] for task in json.loads(Path(path).read_text())["tasks"]]


def escape_times() -> tuple[int, ...]:
    """Return the escape times of the whole picture, from the job that computed the bands."""
    packed = b"".join(base64.b64decode(value["value"]) for value in task_values("bands.json"))
    return struct.unpack(f"<{WIDTH * HEIGHT}H", packed)


def blend(position: int) -> Colour:
    """Return the colour at `position`, from 0 to 255, on the way through STOPS."""
    index, rest = divmod(position * (len(STOPS) - 1), 255)
    if rest == 0:
        return STOPS[index]
    red, green, blue = ((low * (255 - rest) + high * rest) // 255 for low, high in zip(STOPS[index], STOPS[index + 1]))
    return red, green, blue


def palette(times: tuple[int, ...]) -> list[bytes]:
    """Return the colour for every escape time, chosen so that each colour covers about the same area."""
    points = [0] * (ITERATIONS_MAX + 1)
    for time in times:
        points[time] += 1
    outside = list(accumulate(points[:ITERATIONS_MAX]))
    return [bytes(blend(255 * below // outside[-1])) for below in outside] + [bytes(INSIDE)]


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return an RGB picture, three bytes per pixel, as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    stride = 3 * width
    rows = b"".join(b"\0" + pixels[row * stride : (row + 1) * stride] for row in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def picture() -> bytes:
    """Return the picture as a PNG file."""
    times = escape_times()
    colours = palette(times)
    return png(WIDTH, HEIGHT, b"".join(map(colours.__getitem__, times)))


def preview(columns: int = 96) -> bytes:
    """Return the picture for a terminal with true colour: UTF-8 text, two points to a character."""
    times = escape_times()
    colours = palette(times)
    step = WIDTH // columns
    lines = []
    for row in range(0, HEIGHT - step, 2 * step):
        cells = []
        for column in range(0, columns * step, step):
            upper = colours[times[row * WIDTH + column]]
            lower = colours[times[(row + step) * WIDTH + column]]
            cells.append("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*upper, *lower))
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines).encode()


def summary() -> dict[str, int | str]:
    """Return what the picture can be checked by."""
    times = escape_times()
    colours = palette(times)
    return {
        "inside": times.count(ITERATIONS_MAX),
        "iterations": sum(times),
        "pixels_sha256": hashlib.sha256(b"".join(map(colours.__getitem__, times))).hexdigest(),
    }
