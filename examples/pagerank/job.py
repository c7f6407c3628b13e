"""Ranks Debian's packages by PageRank: a package counts as much as the packages that depend on it.

Shows an algorithm that goes round: each iteration is a job with one task per block of packages, and its input is the
ranks that the iteration before wrote.

    ppwasm submit job.py:graph --input target/inputs/packages.txt --output json > graph.json
    ppwasm submit job.py:start --range 0-3 --input graph.json --output json > ranks.json
    ppwasm submit job.py:step --range 0-3 --input graph.json --input ranks.json --output json > next.json
    ...
    ppwasm submit job.py:ranking --input packages.txt --input graph.json --input ranks.json

`packages.txt` is what apt knows about the archive, reduced to the lines `Package:`, `Depends:` and `Pre-Depends:`.
Packages are numbered in alphabetical order.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from array import array
from collections.abc import Iterable
from math import fsum
from pathlib import Path
from typing import Any

BLOCKS = 4
DAMPING = 0.85
ALTERNATIVE = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def dependencies() -> dict[str, list[str]]:
    """Return what each package in packages.txt depends on: of a clause like `a (>= 1) | b`, the first alternative."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in Path("packages.txt").read_text().splitlines():
        field, _, value = line.partition(": ")
        if field == "Package":
            names = found.setdefault(value, [])
        else:
            names.extend(match[0] for match in map(ALTERNATIVE.match, value.split(", ")) if match)
    return found


def pack(values: Iterable[float], code: str) -> bytes:
    """Return numbers as little-endian bytes."""
    numbers = array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack(value: dict[str, str], code: str) -> array[Any]:
    """Return numbers from `bytes` as `--output json` writes them."""
    numbers = array(code, base64.b64decode(value["value"]))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def task_values(path: str) -> list[Any]:
    """Return the values in a file that `ppwasm submit --output json` wrote, in task order."""
    return [task["value"] for task in json.loads(Path(path).read_text())["tasks"]]


def graph() -> dict[str, Any]:
    """Return the graph: how many packages each package depends on, and block by block who depends on each package.

    A block holds, for its packages one after another, how many packages depend on it (`counts`) and which (`sources`).
    """
    found = dependencies()
    numbers = {name: number for number, name in enumerate(sorted(found))}
    degrees: list[int] = []
    dependents: list[list[int]] = [[] for _ in numbers]
    for name, source in numbers.items():
        targets = {numbers[target] for target in found[name] if target in numbers}
        degrees.append(len(targets))
        for target in targets:
            dependents[target].append(source)
    blocks = []
    for block in range(BLOCKS):
        mine = dependents[block * len(numbers) // BLOCKS : (block + 1) * len(numbers) // BLOCKS]
        sources = (source for of_one in mine for source in of_one)
        blocks.append({"counts": pack(map(len, mine), "I"), "sources": pack(sources, "I")})
    return {"degrees": pack(degrees, "I"), "blocks": blocks}


def start(block: int) -> bytes:
    """Return a block of the ranks to begin with: all equal, 1 in total."""
    [network] = task_values("graph.json")
    packages = len(unpack(network["degrees"], "I"))
    return pack([1 / packages] * len(unpack(network["blocks"][block]["counts"], "I")), "d")


def ranks() -> array[float]:
    """Return the ranks of all packages, from the iteration before."""
    values = array("d")
    for value in task_values("ranks.json"):
        values.extend(unpack(value, "d"))
    return values


def step(block: int) -> bytes:
    """Return a block of the next ranks.

    Each package hands its rank on to what it depends on, in equal shares; one that depends on nothing hands it to all.
    """
    [network] = task_values("graph.json")
    old, degrees = ranks(), unpack(network["degrees"], "I")
    shares = [rank / degree if degree else 0.0 for rank, degree in zip(old, degrees)]
    spread = fsum(rank for rank, degree in zip(old, degrees) if not degree)
    for_all = (1 - DAMPING + DAMPING * spread) / len(old)
    handed_on = [shares[source] for source in unpack(network["blocks"][block]["sources"], "I")]
    new, end = [], 0
    for count in unpack(network["blocks"][block]["counts"], "I"):
        begin, end = end, end + count
        new.append(for_all + DAMPING * fsum(handed_on[begin:end]) if count else for_all)
    return pack(new, "d")


def ranking(number: int = 8) -> dict[str, Any]:
    """Return the size of the graph and the packages of the highest ranks."""
    [network] = task_values("graph.json")
    by_rank = sorted(zip(ranks(), sorted(dependencies())), key=lambda item: (-item[0], item[1]))
    return {
        "packages": len(by_rank),
        "dependencies": sum(unpack(network["degrees"], "I")),
        "top": {name: round(rank, 5) for rank, name in by_rank[:number]},
    }
