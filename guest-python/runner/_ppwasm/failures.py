"""An exception as the host gets it: what it is, and the traceback as Python prints it, without the runner's frames.

Whatever the exception does when it is looked at, and however little memory is left, a reply comes out.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT_LENGTH_MAX = 65_536
"""Characters of a message or traceback that are told; of a longer one the head and the tail."""

NOTES_MAX = 100
"""Notes of an exception that are told."""

_RUNNER_FOLDER = __file__.rpartition("/")[0] + "/"
_IMPORT_MACHINERY = "<frozen importlib."


def described(error: BaseException) -> dict[str, object]:
    """The map that tells of an exception (docs/guest-abi.md)."""
    message = _message(error)
    return {
        "type": _type_name(type(error)),
        "message": message,
        "traceback": _traceback(error, message),
        "notes": _notes(error),
        "exit_code": _exit_code(error) if isinstance(error, SystemExit) else None,
    }


def _message(error: BaseException) -> str:
    try:
        return _tellable(str(error))
    except BaseException as fault:
        return f"<str() of this exception raised {type(fault).__name__}>"


def _type_name(cls: type) -> str:
    try:
        module, name = cls.__module__, cls.__qualname__
        return _tellable(name if module == "builtins" else f"{module}.{name}")
    except BaseException:
        return "BaseException"


def _notes(error: BaseException) -> list[str]:
    try:
        return [_tellable(str(note)) for note in error.__notes__[:NOTES_MAX]]
    except BaseException:
        return []


def _exit_code(error: SystemExit) -> int:
    """The code that a process would end with; anything but a number is 1, and Python prints it."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) if -(2**31) <= code < 2**31 else -1
    return 1


def _traceback(error: BaseException, message: str) -> str:
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__, lookup_lines=False, compact=True)
        _trim(told)
        return _joined(told.format())
    except BaseException as fault:
        return f"{_type_name(type(error))}: {message}\n(no traceback: formatting it raised {type(fault).__name__})\n"


def _trim(told: traceback.TracebackException) -> None:
    """Takes out frames of runner and import machinery and most of long messages, in causes and groups too."""
    waiting = [told]
    seen = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        # Formatting would copy it, and it may be most of the memory.
        text = getattr(one, "_str", None)
        if isinstance(text, str):
            one._str = _tellable(text)  # type: ignore[attr-defined]
        if one.stack is not None:
            one.stack[:] = [frame for frame in one.stack if not _is_inner(frame.filename)]
            if not one.stack:
                one.stack = None  # type: ignore[assignment]  # no frame left: no header over nothing
        waiting += [related for related in (one.__cause__, one.__context__, *(one.exceptions or ())) if related]


def _is_inner(filename: str) -> bool:
    return filename.startswith((_RUNNER_FOLDER, _IMPORT_MACHINERY))


def _joined(pieces: Iterable[str]) -> str:
    """The pieces as one text, of which a too long one keeps head and tail, without ever holding all of it."""
    half = TEXT_LENGTH_MAX // 2
    head: list[str] = []
    room = half
    tail = ""
    left_out = 0
    for piece in pieces:
        taken = min(room, len(piece))
        if taken:
            head.append(piece[:taken])
            room -= taken
        # No copy of all the rest: the piece may be most of the memory.
        rest = len(piece) - taken
        left_out += max(len(tail) + rest - half, 0)
        tail = (tail + piece[max(taken, len(piece) - half) :])[-half:]
    if left_out:
        head.append(f"\n… {left_out} characters left out …\n")
    return _encodable("".join(head) + tail)


def _tellable(text: str) -> str:
    """The text without the middle of a too long one."""
    if len(text) <= TEXT_LENGTH_MAX:
        return _encodable(text)
    return _joined((text,))


def _encodable(text: str) -> str:
    """The text with lone surrogates escaped, so that it travels as plain text."""
    return text.encode("utf-8", "backslashreplace").decode()


def free_frames(error: BaseException) -> None:
    """Frees the locals of the frames that the traceback holds: mostly what filled the memory."""
    traceback.clear_frames(error.__traceback__)


def print_exit_message(error: SystemExit) -> None:
    """Prints what `sys.exit` was given in place of a number, as the interpreter does at its end."""
    if error.code is not None and not isinstance(error.code, int):
        print(_message(error), file=sys.stderr)
