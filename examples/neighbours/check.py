"""The same answer another way: distances by their definition, all of them sorted. Run in a directory with digits.csv.

With scikit-learn at hand, `KNeighborsClassifier(3, algorithm="brute")` on the two halves of `load_digits()` gives the
same 899 predictions.
"""

from __future__ import annotations

from pathlib import Path


def main() -> None:
    """Print the line that expected.txt holds."""
    rows = [[int(cell) for cell in line.split(",")] for line in Path("digits.csv").read_text().splitlines()]
    half = len(rows) // 2
    right = 0
    mistakes: dict[str, int] = {}
    for *question, answer in rows[half:]:
        distances = []
        for index, (*picture, digit) in enumerate(rows[:half]):
            distances.append((sum((a - b) ** 2 for a, b in zip(question, picture)), index, digit))
        votes = sorted(digit for _, _, digit in sorted(distances)[:3])
        prediction = votes[1] if votes[1] in (votes[0], votes[2]) else votes[0]
        if prediction == answer:
            right += 1
        else:
            mistake = f"{answer} as {prediction}"
            mistakes[mistake] = mistakes.get(mistake, 0) + 1
    most = sorted(mistakes, key=lambda mistake: (-mistakes[mistake], mistake))[:4]
    share = round(right / (len(rows) - half), 4)
    print({"right": right, "of": len(rows) - half, "share": share, "mistakes": {key: mistakes[key] for key in most}})


if __name__ == "__main__":
    main()
