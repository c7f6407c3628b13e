"""The same answer another way: complex numbers, and the two large discs of the set known in closed form.

The main cardioid and the disc left of it are decided by their equations instead of by iterating, and the colours are
left out of it: prints `inside` and `iterations`, and says whether the picture is symmetric, as the set is.
"""

from __future__ import annotations

import job


def in_large_discs(c: complex) -> bool:
    """Say whether `c` lies in the main cardioid or in the disc around -1."""
    x, y_squared = c.real, c.imag * c.imag
    q = (x - 0.25) ** 2 + y_squared
    return q * (q + x - 0.25) < 0.25 * y_squared or (x + 1) ** 2 + y_squared < 0.0625


def escape_time(c: complex) -> int:
    """Return after how many steps z = z*z + c leaves the circle of radius 2."""
    if in_large_discs(c):
        return job.ITERATIONS_MAX
    z = 0j
    for iteration in range(job.ITERATIONS_MAX):
        if (z * z.conjugate()).real > 4:
            return iteration
        z = z * z + c
    return job.ITERATIONS_MAX


def main() -> None:
    """Print the two figures of `job.summary` that count points and steps."""
    xs = [job.CENTRE_X + (column - (job.WIDTH - 1) / 2) * job.STEP for column in range(job.WIDTH)]
    ys = [((job.HEIGHT - 1) / 2 - row) * job.STEP for row in range(job.HEIGHT)]
    rows = [[escape_time(complex(x, y)) for x in xs] for y in ys]
    times = [time for row in rows for time in row]
    symmetric = rows == rows[::-1]
    print({"inside": times.count(job.ITERATIONS_MAX), "iterations": sum(times), "symmetric": symmetric})


if __name__ == "__main__":
    main()
