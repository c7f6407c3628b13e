"""Checks the ranks another way, for whatever graph the machine's archive has.

PageRank is the only set of numbers with sum 1 for which every package has what the packages that depend on it hand on.
`compare` reads the archive in the plainest way, into a dictionary of names, and puts the ranks into that equation:

    ppwasm submit check.py:compare --input packages.txt --input ranks.json

Run by hand in a directory with packages.txt, this file computes the ranking with an algorithm of its own, Gauss-Seidel,
and prints the line that expected.txt holds.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

DAMPING = 0.85
RESIDUAL_MAX = 1e-5  # sum over all packages; 30 iterations from equal ranks leave a tenth of it


def dependencies() -> dict[str, set[str]]:
    """Return the packages that each package depends on."""
    found: dict[str, set[str]] = {}
    for line in Path("packages.txt").read_text().splitlines():
        field, value = line.split(":", 1)
        if field == "Package":
            package = value.strip()
            found.setdefault(package, set())
        else:
            for clause in value.split(","):
                first = clause.split("|")[0].split("(")[0].split(":")[0]
                found[package].add(first.strip())
    return {package: {target for target in targets if target in found} for package, targets in found.items()}


def dependents(found: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return the packages that depend on each package."""
    turned: dict[str, list[str]] = {package: [] for package in found}
    for package, targets in found.items():
        for target in targets:
            turned[target].append(package)
    return turned


def compare() -> str:
    """Return "equal" when the ranks in ranks.json are PageRank's, else raise ValueError."""
    found = dependencies()
    document = json.loads(Path("ranks.json").read_text())
    packed = b"".join(base64.b64decode(task["value"]["value"]) for task in document["tasks"])
    numbers = struct.unpack(f"<{len(packed) // 8}d", packed)
    if len(numbers) != len(found):
        raise ValueError(f"{len(numbers)} ranks for {len(found)} packages")
    rank = dict(zip(sorted(found), numbers))
    if not abs(sum(numbers) - 1) <= 1e-9:
        raise ValueError(f"the ranks sum to {sum(numbers)}, not to 1")
    spread = sum(rank[package] for package, targets in found.items() if not targets)
    residual = 0.0
    for package, sources in dependents(found).items():
        handed_on = spread / len(found) + sum(rank[source] / len(found[source]) for source in sources)
        residual += abs(rank[package] - (1 - DAMPING) / len(found) - DAMPING * handed_on)
    if not residual <= RESIDUAL_MAX:
        raise ValueError(f"the ranks miss the equation by {residual} in total, more than {RESIDUAL_MAX}")
    return "equal"


def solve(found: dict[str, set[str]]) -> dict[str, float]:
    """Return the rank of each package.

    Rank that a package without dependencies hands to everybody is left out: that only scales the solution.
    """
    turned = dependents(found)
    rank = dict.fromkeys(found, 1.0)
    change = 1.0
    while change > 1e-9:
        change = 0.0
        for package, sources in turned.items():
            new = 1 - DAMPING + DAMPING * sum(rank[source] / len(found[source]) for source in sources)
            change = max(change, abs(new - rank[package]))
            rank[package] = new
    total = sum(rank.values())
    return {package: value / total for package, value in rank.items()}


def main() -> None:
    """Print the ranking of the graph in packages.txt, as `job.ranking` returns it."""
    found = dependencies()
    ranking = sorted(solve(found).items(), key=lambda item: (-item[1], item[0]))
    top = {name: round(rank, 5) for name, rank in ranking[:8]}
    print({"packages": len(found), "dependencies": sum(map(len, found.values())), "top": top})


if __name__ == "__main__":
    main()
