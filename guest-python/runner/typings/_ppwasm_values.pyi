"""The guest's C module for the types that most values are made of (glue/values.c)."""

from collections.abc import Callable

from _ppwasm.classes import Classes

def set_up(
    write_other: Callable[[object, Classes, int], bytes],
    read_tag: Callable[[bytes, Classes, int, int, int, int], tuple[object, int]],
    step_to_key: Callable[[object], str],
    cannot_travel: type[BaseException],
    malformed: type[BaseException],
    /,
) -> None: ...
def encode(value: object, classes: Classes, depth: int, prefix: bytes, /) -> bytes: ...
def decode(data: bytes, classes: Classes, depth: int, /) -> object: ...
def decode_at(data: bytes, classes: Classes, depth: int, position: int, /) -> tuple[object, int]: ...
