"""The same answers another way: every pixel by its filter's definition, the sound as a product of two huge integers.

Run in a directory with astronaut.png and Front_Center.wav; prints what expected.txt holds. It shares with the programs
that it checks how a PNG file is decoded and which coefficients the sound's filter has, nothing else.
"""

from __future__ import annotations

import hashlib
import struct
from math import sqrt

import image
import sound

SOBEL = [(-1, -1, -1), (0, -1, -2), (1, -1, -1), (-1, 1, 1), (0, 1, 2), (1, 1, 1)]
LANE_BITS = 64


def blurred(pixels: list[list[tuple[int, ...]]]) -> bytes:
    """Return the mean of the square around each pixel, channel by channel."""
    height, width = len(pixels), len(pixels[0])
    around = range(-image.RADIUS, image.RADIUS + 1)
    result = bytearray()
    for y in range(height):
        rows = [pixels[min(max(y + dy, 0), height - 1)] for dy in around]
        for x in range(width):
            columns = [min(max(x + dx, 0), width - 1) for dx in around]
            square = [row[column] for row in rows for column in columns]
            result += bytes(sum(channel) // len(square) for channel in zip(*square))
    return bytes(result)


def edges(pixels: list[list[tuple[int, ...]]]) -> bytes:
    """Return the length of the gradient of the brightness at each pixel."""
    height, width = len(pixels), len(pixels[0])
    grey = [[(299 * red + 587 * green + 114 * blue) // 1000 for red, green, blue in row] for row in pixels]

    def at(x: int, y: int) -> int:
        return grey[min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    result = bytearray()
    for y in range(height):
        for x in range(width):
            down = sum(weight * at(x + along, y + across) for along, across, weight in SOBEL)
            right = sum(weight * at(x + across, y + along) for along, across, weight in SOBEL)
            result.append(min(255, int(sqrt(down * down + right * right))))
    return bytes(result)


def product(left: list[int], right: list[int]) -> list[int]:
    """Return the convolution of two lists of numbers that are not negative, by multiplying them as digits."""
    lane = LANE_BITS // 8
    one, other = (int.from_bytes(b"".join(n.to_bytes(lane, "little") for n in ns), "little") for ns in (left, right))
    length = len(left) + len(right) - 1
    return list(struct.unpack(f"<{length}Q", (one * other).to_bytes(length * lane, "little")))


def low_pass(samples: tuple[int, ...], weights: list[int]) -> list[int]:
    """Return the filtered samples; numbers below zero are split off, as `product` takes none."""
    totals = [1 << (sound.SCALE_BITS - 1)] * (len(samples) + len(weights) - 1)
    for sample_sign in (1, -1):
        for weight_sign in (1, -1):
            some = product([max(s * sample_sign, 0) for s in samples], [max(w * weight_sign, 0) for w in weights])
            totals = [total + sample_sign * weight_sign * part for total, part in zip(totals, some)]
    return [total >> sound.SCALE_BITS for total in totals[sound.HALF : len(totals) - sound.HALF]]


def main() -> None:
    """Print the answers."""
    decoded = image.decode()
    points = list(struct.iter_unpack("3B", decoded["pixels"]))
    pixels = [points[start : start + decoded["width"]] for start in range(0, len(points), decoded["width"])]
    for name, content in (("blur", blurred(pixels)), ("edges", edges(pixels))):
        mean = round(sum(content) / len(content), 3)
        print(name, {"bytes": len(content), "mean": mean, "sha256": hashlib.sha256(content).hexdigest()})

    rate, samples = sound.recording()
    result = low_pass(samples, sound.coefficients(rate))
    rms = [round(sqrt(sum(value * value for value in values) / len(values)), 2) for values in (samples, result)]
    digest = hashlib.sha256(struct.pack(f"<{len(result)}h", *result)).hexdigest()
    print("sound", {"samples": len(result), "rms": rms, "sha256": digest})


if __name__ == "__main__":
    main()
