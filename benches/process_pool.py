"""Calls per second of `ProcessPoolExecutor`: one line of JSON for each line of input, `WORKERS CALLS`."""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor


def f(x: int) -> int:
    """The function that fresh calls are measured with as well."""
    return x + 1


def main() -> None:
    """Measures whenever it is asked to; the pool is started before the time is taken."""
    pools: dict[int, ProcessPoolExecutor] = {}
    for line in sys.stdin:
        workers, calls = map(int, line.split())
        if workers not in pools:
            pools[workers] = ProcessPoolExecutor(workers)
            list(pools[workers].map(f, range(100 * workers)))
        started = time.perf_counter()
        results = list(pools[workers].map(f, range(calls)))
        seconds = time.perf_counter() - started
        if results != list(range(1, calls + 1)):
            sys.exit("process_pool: wrong answer")
        print(json.dumps({"calls_per_s": calls / seconds}), flush=True)
    for pool in pools.values():
        pool.shutdown()


if __name__ == "__main__":
    main()
