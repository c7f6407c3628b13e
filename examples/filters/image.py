"""Blurs a photograph and finds its edges, in pure Python from PNG file to PNG file.

Shows image processing in bands of rows: each task reads its band and the few rows around it that the filter needs.

    ppwasm submit image.py:decode --input target/inputs/astronaut.png --output json > pixels.json
    ppwasm submit image.py:blur --range 0-15 --input pixels.json --output json > bands.json
    ppwasm submit image.py:encode --kwargs '{"channels": 3}' --input pixels.json --input bands.json --output json
    ppwasm submit image.py:edges --range 0-15 --input pixels.json --output json > bands.json
    ppwasm submit image.py:encode --kwargs '{"channels": 1}' --input pixels.json --input bands.json --output json

All arithmetic is on integers. Outside the picture the pixels at its border go on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from itertools import accumulate
from math import isqrt
from pathlib import Path
from typing import Any

BANDS = 16
RADIUS = 4  # the blur takes the mean of a square of 2 * RADIUS + 1 pixels
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Row = list[int]


def decode() -> dict[str, Any]:
    """Return the size and the pixels of the picture, three bytes each; it has to be RGB with 8 bits, not interlaced."""
    data = Path("astronaut.png").read_bytes()
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    position, compressed, header = len(PNG_SIGNATURE), b"", b""
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            compressed += body
        position += length + 12
    width, height, *layout = struct.unpack(">IIBBBBB", header)
    if layout != [8, 2, 0, 0, 0]:
        raise ValueError("not an 8-bit RGB picture, or interlaced")
    return {"width": width, "height": height, "pixels": unfilter(zlib.decompress(compressed), 3 * width)}


def unfilter(scanlines: bytes, stride: int, pixel: int = 3) -> bytes:
    """Return the bytes of a PNG's pixels, undoing what each line's filter did (PNG specification, section 9)."""
    above = bytearray(stride)
    pixels = bytearray()
    for start in range(0, len(scanlines), stride + 1):
        kind, line = scanlines[start], bytearray(scanlines[start + 1 : start + 1 + stride])
        for index in range(stride) if kind else ():
            left = line[index - pixel] if index >= pixel else 0
            if kind == 1:
                predicted = left
            elif kind == 2:
                predicted = above[index]
            elif kind == 3:
                predicted = (left + above[index]) // 2
            else:
                predicted = paeth(left, above[index], above[index - pixel] if index >= pixel else 0)
            line[index] = (line[index] + predicted) & 255
        pixels += line
        above = line
    return bytes(pixels)


def paeth(left: int, above: int, corner: int) -> int:
    """Return which of the three neighbours is nearest to left + above - corner."""
    by_left, by_above, by_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    if by_left <= by_above and by_left <= by_corner:
        return left
    return above if by_above <= by_corner else corner


def task_values(path: str) -> list[Any]:
    """Return the values in a file that `ppwasm submit --output json` wrote, in task order."""
    return [task["value"] for task in json.loads(Path(path).read_text())["tasks"]]


class Picture:
    """The picture that `decode` returned."""

    def __init__(self) -> None:
        [value] = task_values("pixels.json")
        self.width: int = value["width"]
        self.height: int = value["height"]
        self._pixels = base64.b64decode(value["pixels"]["value"])

    def row(self, number: int) -> bytes:
        """Return a row's bytes; beyond the first and the last one, theirs."""
        start = 3 * self.width * min(max(number, 0), self.height - 1)
        return self._pixels[start : start + 3 * self.width]

    def band(self, index: int) -> range:
        """Return the numbers of the rows in a band."""
        return range(index * self.height // BANDS, (index + 1) * self.height // BANDS)


def widen(row: bytes | Row, margin: int) -> Row:
    """Return a row of numbers with its first and its last one repeated beyond its ends."""
    return [row[0]] * margin + list(row) + [row[-1]] * margin


def blur(index: int) -> bytes:
    """Return a band of the blurred picture, three bytes per pixel."""
    picture = Picture()
    size = 2 * RADIUS + 1
    blurred = bytearray()
    for number in picture.band(index):
        columns = [sum(column) for column in zip(*(picture.row(number + y) for y in range(-RADIUS, RADIUS + 1)))]
        row = bytearray(len(columns))
        for channel in range(3):
            sums = list(accumulate(widen(columns[channel::3], RADIUS), initial=0))
            row[channel::3] = bytes((end - begin) // size**2 for begin, end in zip(sums, sums[size:]))
        blurred += row
    return bytes(blurred)


def brightness(row: bytes) -> Row:
    """Return how bright each pixel of a row looks, 0 to 255 (the weights of ITU-R BT.601)."""
    return [(299 * red + 587 * green + 114 * blue) // 1000 for red, green, blue in zip(row[::3], row[1::3], row[2::3])]


def edges(index: int) -> bytes:
    """Return a band of the picture's edges by Sobel's operator, one byte per pixel."""
    picture = Picture()
    found = bytearray()
    for number in picture.band(index):
        above, here, below = (widen(brightness(picture.row(number + y)), 1) for y in (-1, 0, 1))
        across = [top + 2 * middle + bottom for top, middle, bottom in zip(above, here, below)]
        down = [bottom - top for top, bottom in zip(above, below)]
        slopes = zip(across, across[2:], down, down[1:], down[2:])
        found += bytes(
            min(255, isqrt((right - left) ** 2 + (first + 2 * second + third) ** 2))
            for left, right, first, second, third in slopes
        )
    return bytes(found)


def filtered() -> bytes:
    """Return the pixels that the tasks of a filter returned."""
    return b"".join(base64.b64decode(value["value"]) for value in task_values("bands.json"))


def encode(channels: int) -> bytes:
    """Return the filtered picture as a PNG file, with 3 channels (RGB) or 1 (grey)."""
    picture, pixels = Picture(), filtered()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = channels * picture.width
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def summary() -> dict[str, Any]:
    """Return what the filtered pixels can be checked by."""
    pixels = filtered()
    return {
        "bytes": len(pixels),
        "mean": round(sum(pixels) / len(pixels), 3),
        "sha256": hashlib.sha256(pixels).hexdigest(),
    }
