"""Takes the high tones out of a recording, in pure Python from WAV file to WAV file.

Shows signal processing in blocks: each task filters its samples, and reads the few around them that the filter needs.

    ppwasm submit sound.py:low_pass --range 0-15 --input target/inputs/Front_Center.wav --output json > blocks.json
    ppwasm submit sound.py:encode --input target/inputs/Front_Center.wav --input blocks.json --output json

The filter has integer coefficients and rounds once per sample. Outside the recording it is silent.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import wave
from math import cos, pi, sin, sqrt
from operator import mul
from pathlib import Path
from typing import Any

BLOCKS = 16
CUTOFF_HZ = 1000
HALF = 127  # coefficients on either side of the middle one
SCALE_BITS = 15  # the coefficients sum to 1 << SCALE_BITS


def recording() -> tuple[int, tuple[int, ...]]:
    """Return the samples per second and the samples; the file has to have one channel of 16 bits."""
    with wave.open("Front_Center.wav", "rb") as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise ValueError("not a mono recording with 16 bits")
        return file.getframerate(), struct.unpack(f"<{file.getnframes()}h", file.readframes(file.getnframes()))


def coefficients(rate: int) -> list[int]:
    """Return the filter: a sine cardinal at the cut-off frequency under a Hann window."""

    def ideal(offset: int) -> float:
        turn = 2 * pi * CUTOFF_HZ / rate
        return sin(turn * offset) / (pi * offset) if offset else turn / pi

    window = [0.5 + 0.5 * cos(pi * offset / (HALF + 1)) for offset in range(-HALF, HALF + 1)]
    shaped = [ideal(offset) * weight for offset, weight in zip(range(-HALF, HALF + 1), window)]
    scaled = [round((1 << SCALE_BITS) * value / sum(shaped)) for value in shaped]
    scaled[HALF] += (1 << SCALE_BITS) - sum(scaled)
    return scaled


def low_pass(block: int) -> bytes:
    """Return a block of the filtered samples, two bytes each, low byte first."""
    rate, samples = recording()
    start, end = (len(samples) * edge // BLOCKS for edge in (block, block + 1))
    silence = (0,) * HALF
    around = (silence + samples + silence)[start : end + 2 * HALF]
    weights = coefficients(rate)
    rounding = 1 << (SCALE_BITS - 1)
    sums = (sum(map(mul, weights, around[first : first + len(weights)])) for first in range(end - start))
    filtered = [min(max((total + rounding) >> SCALE_BITS, -32768), 32767) for total in sums]
    return struct.pack(f"<{len(filtered)}h", *filtered)


def filtered_frames() -> bytes:
    """Return the samples that the tasks returned, as a WAV file holds them."""
    tasks = json.loads(Path("blocks.json").read_text())["tasks"]
    return b"".join(base64.b64decode(task["value"]["value"]) for task in tasks)


def encode() -> bytes:
    """Return the filtered recording as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(recording()[0])
        file.writeframes(filtered_frames())
    return content.getvalue()


def loudness(samples: tuple[int, ...]) -> float:
    """Return the root of the mean square."""
    return round(sqrt(sum(map(mul, samples, samples)) / len(samples)), 2)


def summary() -> dict[str, Any]:
    """Return what the filtered recording can be checked by, and how much quieter it became."""
    frames = filtered_frames()
    samples = struct.unpack(f"<{len(frames) // 2}h", frames)
    before, after = loudness(recording()[1]), loudness(samples)
    return {"samples": len(samples), "rms": [before, after], "sha256": hashlib.sha256(frames).hexdigest()}
