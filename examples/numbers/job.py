"""Two calls of one function, side by side, each in a sandbox of its own.

The first program to read and to run:

    ppwasm submit examples/numbers/job.py:numbers --from-json examples/numbers/starts.json

`starts.json` holds `[1, 10]`, so there are two tasks: `numbers(1)` and `numbers(10)`.
"""

from __future__ import annotations


def numbers(start: int) -> list[int]:
    """Return ten numbers, counting from `start`."""
    return list(range(start, start + 10))
