"""Counts the words of the King James Bible: one part of the text per task, then one call that adds them up.

Shows a file given to every sandbox (`--input`), and map and reduce as two jobs:

    ppwasm submit job.py:count --range 0-31 --input target/inputs/kjv.txt --output json > counts.json
    ppwasm submit job.py:total --input counts.json

The text has one verse per line, `Ge1:1 In the beginning God created the heaven and the earth.`
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

PARTS = 32
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
VERSE = re.compile(r"(\w+:\d+) (.*)")


def line_start(text: BinaryIO, offset: int) -> int:
    """Return where the first line starts that begins at `offset` or later."""
    if offset == 0:
        return 0
    text.seek(offset - 1)
    text.readline()
    return text.tell()


def part_of(path: str, part: int) -> str:
    """Return the lines that begin in one of the PARTS equal parts of a file."""
    size = Path(path).stat().st_size
    with open(path, "rb") as text:
        start, end = (line_start(text, size * edge // PARTS) for edge in (part, part + 1))
        text.seek(start)
        return text.read(end - start).decode("ascii")


def count(part: int) -> dict[str, int]:
    """Return how often each word occurs in a part of the text, in small letters, the verses' names left out."""
    words: Counter[str] = Counter()
    for line in part_of("kjv.txt", part).splitlines():
        verse = VERSE.fullmatch(line)
        if verse:
            words.update(WORD.findall(verse[2].lower()))
    return dict(words)


def task_values(path: str) -> list[Any]:
    """Return the values in a file that `ppwasm submit --output json` wrote, in task order."""
    return [task["value"] for task in json.loads(Path(path).read_text())["tasks"]]


def sum_of_counts() -> Counter[str]:
    """Return the word counts of the whole text, from the job that counted the parts."""
    words: Counter[str] = Counter()
    for counts in task_values("counts.json"):
        words.update(counts)
    return words


def most_common(words: Counter[str], number: int) -> list[tuple[str, int]]:
    """Return the most frequent words, equally frequent ones in alphabetical order."""
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))[:number]


def total() -> dict[str, Any]:
    """Return the number of words, of different words, and the ten most frequent."""
    words = sum_of_counts()
    return {"words": sum(words.values()), "different": len(words), "most": dict(most_common(words, 10))}


def chart(number: int = 15, width: int = 60) -> bytes:
    """Return a bar chart of the most frequent words, as UTF-8 text for a terminal."""
    ranking = most_common(sum_of_counts(), number)
    most = ranking[0][1]
    lines = (f"{word:>10} {times:>7,} {'█' * round(width * times / most)}\n" for word, times in ranking)
    return "".join(lines).encode()
