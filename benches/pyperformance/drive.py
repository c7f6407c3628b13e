"""Runs one benchmark script of pyperformance, in the guest or on a native interpreter.

In the guest `run` is the function that is called; natively the file is run as a program. The same code runs on both
sides, and the fingerprints of what it computed have to be equal.
"""

import gc
import hashlib
import json
import os
import random
import sys
import time
import types
from collections.abc import Callable

import pyperf

# What the host looks for on stderr: it takes the time when it sees one.
MARK = b"\x01ppwasm-mark\n"


def run(script: str, benchmark: str | None, loops: int, options: list[str]) -> dict[str, object]:
    """Runs the script in the guest; the host reads the clock at each mark."""
    return _run(script, benchmark, loops, options, _write_mark)


def _write_mark() -> None:
    os.write(2, MARK)


def _run(
    script: str, benchmark: str | None, loops: int, options: list[str], mark: Callable[[], None]
) -> dict[str, object]:
    pyperf.plan = pyperf.Plan(benchmark, loops, mark)
    random.seed(1)
    if "--pure-python" in options:
        # It takes effect only while the module is being imported, and in the guest's image it already is.
        sys.modules.pop("pickle", None)
    gc.collect()
    # As in the guest's image: collections do not look at what was there before.
    gc.freeze()
    folder = os.path.dirname(script)
    sys.path.insert(0, folder)
    sys.argv = [script, *options]
    module = types.ModuleType("__main__")
    module.__file__ = script
    sys.modules["__main__"] = module
    with open(script, encoding="utf-8") as file:
        code = compile(file.read(), script, "exec")
    exec(code, module.__dict__)
    if benchmark is not None and benchmark not in pyperf.plan.names:
        raise ValueError(f"{script} has no benchmark {benchmark!r}, it has {pyperf.plan.names}")
    return {"names": pyperf.plan.names, "fingerprint": _fingerprint(module, folder)}


def _fingerprint(module: types.ModuleType, folder: str) -> dict[str, str]:
    """Digests of all that the benchmark left behind that is plain data: results, globals, the random state."""
    left = {f"result {index}": result for index, result in enumerate(pyperf.plan.results)}
    left |= {name: value for name, value in vars(module).items() if not name.startswith("__")}
    left["random state"] = random.getstate()
    texts = {name: repr(value) for name, value in left.items() if _is_plain(value, 6)}
    return {name: _digest(text.replace(folder, ".")) for name, text in sorted(texts.items())}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _is_plain(value: object, depth: int) -> bool:
    kind = type(value)
    if kind in (int, float, str, bytes, bool, type(None), complex):
        return True
    if depth == 0:
        return False
    if kind in (list, tuple):
        return all(_is_plain(item, depth - 1) for item in value)  # type: ignore[attr-defined]
    if kind is dict:
        return all(_is_plain(item, depth - 1) for pair in value.items() for item in pair)  # type: ignore[attr-defined]
    return False


def main(script: str, benchmark: str, loops: str, *options: str) -> None:
    """Runs the script natively and prints one line of JSON."""
    times: list[tuple[int, int]] = []
    answer = _run(
        script,
        benchmark or None,
        int(loops),
        list(options),
        lambda: times.append((time.thread_time_ns(), time.perf_counter_ns())),
    )
    if len(times) == 2:
        (cpu_begin, wall_begin), (cpu_end, wall_end) = times
        answer |= {"cpu_ns": cpu_end - cpu_begin, "wall_ns": wall_end - wall_begin}
    print(json.dumps(answer))


if __name__ == "__main__":
    # The script will be `__main__` in a moment.
    sys.modules["drive"] = sys.modules["__main__"]
    main(*sys.argv[1:])
