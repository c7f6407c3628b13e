"""Stands in for the `pyperf` package: what pyperformance's benchmarks use of it, and no more.

A run measures one benchmark of one script: `plan` says which, how many loops, and what to call at the begin and end
of the measured part. Benchmarks that the plan does not name are skipped.
"""

import argparse
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

__all__ = ["Runner", "perf_counter", "python_implementation"]

python_implementation = platform.python_implementation


@dataclass
class Plan:
    """What is to be measured, and what came of it."""

    benchmark: str | None
    loops: int
    mark: Callable[[], None]
    names: list[str] = field(default_factory=list)
    results: list[object] = field(default_factory=list)


plan = Plan(None, 0, lambda: None)


class Runner:
    """Runs the benchmarks that a script registers, if the plan names them."""

    def __init__(self, add_cmdline_args: object = None, **_others: object) -> None:
        self.argparser = argparse.ArgumentParser()
        self.metadata: dict[str, str] = {}

    def parse_args(self, arguments: list[str] | None = None) -> argparse.Namespace:
        """The script's own arguments."""
        return self.argparser.parse_args(arguments)

    def bench_func(self, name: str, function: Callable[..., object], *arguments: object, **_options: object) -> None:
        """Calls the function once for each loop."""

        def repeat(loops: int) -> object:
            result = None
            for _ in range(loops):
                result = function(*arguments)
            return result

        _measure(name, repeat)

    def bench_time_func(
        self, name: str, function: Callable[..., float], *arguments: object, **_options: object
    ) -> None:
        """Calls the function with the number of loops; it returns a time, which is not used."""

        def repeat(loops: int) -> None:
            function(loops, *arguments)

        _measure(name, repeat)

    def bench_async_func(self, name: str, function: Callable[..., Any], *arguments: object, **_options: object) -> None:
        """Awaits the function once for each loop."""
        # Here, because most benchmarks can do without it.
        import asyncio

        async def repeat(loops: int) -> object:
            result = None
            for _ in range(loops):
                result = await function(*arguments)
            return result

        _measure(name, lambda loops: asyncio.run(repeat(loops)))


def _measure(name: str, repeat: Callable[[int], object]) -> None:
    plan.names.append(name)
    if name != plan.benchmark:
        return
    if plan.loops == 0:
        # What is left is the script's start.
        plan.mark()
        plan.mark()
        return
    # The first loop fills caches and lets the interpreter specialise its code.
    repeat(1)
    plan.mark()
    result = repeat(plan.loops)
    plan.mark()
    plan.results.append(result)
