"""The same answer another way: trial division by the primes found so far. Slow (half a minute) and simple."""

from __future__ import annotations

LIMIT = 10_000_000


def count_by_trial_division(limit: int) -> int:
    """Return the number of primes up to `limit`."""
    primes = [2]
    for number in range(3, limit + 1, 2):
        for prime in primes:
            if prime * prime > number:
                primes.append(number)
                break
            if number % prime == 0:
                break
    return len(primes)


if __name__ == "__main__":
    print(count_by_trial_division(LIMIT))
