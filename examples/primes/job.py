"""Counts the primes up to ten million, a hundred thousand numbers per task.

Shows a job made of many equal tasks: `--range 0-99` calls `count` once per block, and since results are
plain lines on stdout, any program can add them up:

    ppwasm submit examples/primes/job.py:count --range 0-99 | awk '{ sum += $1 } END { print sum }'
"""

from __future__ import annotations

from math import isqrt

BLOCK = 100_000


def primes_up_to(limit: int) -> list[int]:
    """Return the primes up to and including `limit`, by the sieve of Eratosthenes."""
    is_prime = bytearray([1]) * (limit + 1)
    is_prime[:2] = bytes(len(is_prime[:2]))
    for number in range(2, isqrt(limit) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number, prime in enumerate(is_prime) if prime]


def count(block: int) -> int:
    """Return how many primes lie in the block: `block * BLOCK + 1` up to and including `(block + 1) * BLOCK`."""
    first, last = block * BLOCK + 1, (block + 1) * BLOCK
    is_prime = bytearray([1]) * BLOCK
    if first == 1:
        is_prime[0] = 0
    for prime in primes_up_to(isqrt(last)):
        # The first multiple that lies in the block and is not the prime itself.
        multiple = max(prime * prime, -(-first // prime) * prime)
        is_prime[multiple - first :: prime] = bytes(len(range(multiple, last + 1, prime)))
    return sum(is_prime)
