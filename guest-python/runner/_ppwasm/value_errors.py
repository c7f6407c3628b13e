"""What can go wrong with a value on its way, and how the place in the value is named."""

from __future__ import annotations

NESTING_MAX = 200
"""Arrays and maps that may be open at once in one value (docs/values.md)."""

NESTED_TOO_DEEP = f"is nested more than {NESTING_MAX} levels deep"

_PLACE_LENGTH_MAX = 1000


class CannotTravel(TypeError):
    """A value has no encoding. The message says where in the value and why.

    It collects the place while it passes the containers on its way up, so that a value without a
    fault pays nothing for it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []
        self.containers: list[int] = []

    def passed(self, step: str, container: object) -> None:
        """Notes one step of the place: `[3]`, `.name`, or words that end in ` of `."""
        self.steps.append(step)
        self.containers.append(id(container))

    def explained(self, root: str) -> str:
        """The whole message, for a value called `root`."""
        steps = self.steps[::-1]
        containers = self.containers[::-1]
        if len(set(containers)) < len(containers):
            twice = next(at for at, container in enumerate(containers) if containers.count(container) > 1)
            return f"{_place(root, steps[:twice])} cannot travel: it contains itself"
        if self.reason == NESTED_TOO_DEEP:
            steps = []  # a long way that says nothing more
        return f"{_place(root, steps)} cannot travel: it {self.reason}"


def _place(root: str, steps: list[str]) -> str:
    place = root
    for step in steps:
        if step.endswith(" of "):
            place = step + place
        elif " of " in place:
            place = f"({place}){step}"
        else:
            place += step
    if len(place) > _PLACE_LENGTH_MAX:
        half = _PLACE_LENGTH_MAX // 2
        place = f"{place[:half]} … {place[-half:]}"
    return place


class MalformedValue(ValueError):
    """Bytes are not the encoding of a value. The message names the offset of the faulty item's head."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"{reason} at offset {offset}")
        self.reason = reason
        self.offset = offset


# Callers see these names in replies and tracebacks; the runner's own layout is not theirs to know.
CannotTravel.__module__ = MalformedValue.__module__ = "ppwasm"
