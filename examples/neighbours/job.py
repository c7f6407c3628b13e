"""Recognises handwritten digits by their nearest neighbours: learns from 898 pictures, is asked about 899 others.

Shows prediction with a learned model, a slice of the questions per task:

    ppwasm submit job.py:predict --range 0-23 --input target/inputs/digits.csv --output json > predictions.json
    ppwasm submit job.py:accuracy --input target/inputs/digits.csv --input predictions.json

The data set is scikit-learn's copy of the optical recognition of handwritten digits: on each line the 64 grey values of
a picture, from 0 to 16, and the digit that it shows.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections import Counter
from operator import mul
from pathlib import Path
from typing import Any

SLICES = 24
NEIGHBOURS = 3

Picture = tuple[int, ...]
Digits = list[tuple[Picture, int]]


def digits() -> tuple[Digits, Digits]:
    """Return the pictures with the digit that each one shows: those to learn from, and those to ask about."""
    with open("digits.csv", newline="") as lines:
        rows = [tuple(map(int, row)) for row in csv.reader(lines)]
    labelled = [(row[:-1], row[-1]) for row in rows]
    return labelled[: len(rows) // 2], labelled[len(rows) // 2 :]


def predict(index: int) -> list[int]:
    """Return the predicted digits for a slice of the questions.

    A picture gets the digit that most of its nearest neighbours show; of equally many, the smallest.
    """
    learned, asked = digits()
    # |a - b|^2 = |a|^2 - 2ab + |b|^2, and |a|^2 is the same for all neighbours of a.
    norms = [sum(map(mul, picture, picture)) for picture, _ in learned]
    predictions = []
    for question, _ in asked[index * len(asked) // SLICES : (index + 1) * len(asked) // SLICES]:
        distances = [norm - 2 * sum(map(mul, question, picture)) for norm, (picture, _) in zip(norms, learned)]
        nearest = heapq.nsmallest(NEIGHBOURS, range(len(learned)), key=distances.__getitem__)
        votes = Counter(learned[neighbour][1] for neighbour in nearest)
        predictions.append(min(votes, key=lambda digit: (-votes[digit], digit)))
    return predictions


def task_values(path: str) -> list[Any]:
    """Return the values in a file that `ppwasm submit --output json` wrote, in task order."""
    return [task["value"] for task in json.loads(Path(path).read_text())["tasks"]]


def accuracy() -> dict[str, Any]:
    """Return how many predictions are right, and the most frequent mistakes."""
    answers = [label for _, label in digits()[1]]
    predictions = [digit for part in task_values("predictions.json") for digit in part]
    if len(predictions) != len(answers):
        raise ValueError(f"{len(predictions)} predictions for {len(answers)} pictures")
    wrong = Counter(f"{label} as {digit}" for label, digit in zip(answers, predictions) if label != digit)
    mistakes = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    right = len(answers) - sum(wrong.values())
    return {"right": right, "of": len(answers), "share": round(right / len(answers), 4), "mistakes": dict(mistakes[:4])}
