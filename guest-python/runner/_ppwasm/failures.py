"""An exception as the host gets it: what it is, and the traceback as Python prints it, without the runner's frames.

Whatever the exception does when it is looked at, and however little memory is left, a reply comes out.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

TEXT_LENGTH_MAX = 65_536
"""Characters of a message or traceback that are told; of a longer one the head and the tail."""

NOTES_MAX = 100
"""Notes of an exception that are told."""

FRAMES_MAX = 2_000
"""Frames of one exception that are told; of more the first and the last."""

FRAMES_MIN = 20
"""Frames that are told of each exception even when those before it have had `FRAMES_MAX` altogether."""

EXCEPTIONS_MAX = 100
"""Exceptions of a chain of causes and contexts that are told; of more the last ones."""

GROUP_MEMBERS_MAX = 15
"""Members of a group that are told, as many as Python itself shows; of more the first ones."""

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
        frames_left_out, exceptions_left_out = _cut(error)
        text = _joined(_told(error, frames_left_out).format())
        if exceptions_left_out:
            text = f"… {exceptions_left_out} earlier exceptions left out …\n\n{text}"
        return text
    except BaseException as fault:
        return f"{_type_name(type(error))}: {message}\n(no traceback: formatting it raised {type(fault).__name__})\n"


def _cut(error: BaseException) -> tuple[dict[int, int], int]:
    """Cuts long tracebacks and long chains: formatting looks at every frame before it leaves out a line.

    Returns how many frames were left out of which exception, by its `id`, and how many exceptions.
    """
    frames_left_out: dict[int, int] = {}
    room = FRAMES_MAX
    exceptions_left_out = 0
    waiting = [(error, 1)]
    seen = set()
    while waiting:
        one, level = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kept, left_out = _shorten(one.__traceback__, max(room, FRAMES_MIN))
        room -= kept
        if left_out:
            frames_left_out[id(one)] = left_out
        if level == EXCEPTIONS_MAX:
            exceptions_left_out += sum(1 for _ in _before(one))
            one.__cause__ = one.__context__ = None
        earlier = [related for related in (one.__cause__, one.__context__) if related is not None]
        waiting += [(related, level + 1) for related in earlier]
        if isinstance(one, BaseExceptionGroup):
            waiting += [(member, level) for member in one.exceptions[:GROUP_MEMBERS_MAX]]
    return frames_left_out, exceptions_left_out


def _shorten(trace: TracebackType | None, room: int) -> tuple[int, int]:
    """Takes the middle out of a traceback of more frames than there is room for. Returns how many stay and go."""
    head = _head_frames(room)
    tail = room - head
    last_of_head = first_of_tail = trace
    frames = 0
    # One pass, because there may be a million; `first_of_tail` follows at a distance.
    while trace is not None:
        frames += 1
        if frames == head:
            last_of_head = trace
        elif frames > tail and first_of_tail is not None:
            first_of_tail = first_of_tail.tb_next
        trace = trace.tb_next
    if frames <= room:
        return frames, 0
    if last_of_head is not None:
        last_of_head.tb_next = first_of_tail
    return room, frames - room


def _head_frames(frames: int) -> int:
    """How many frames of a shortened traceback come before the place of those left out."""
    return frames // 2


def _before(error: BaseException) -> Iterator[BaseException]:
    """What led to the exception, as far as it is one chain."""
    seen = {id(error)}
    while True:
        # Not `or`: an exception's truth is its class's business.
        earlier = error.__context__ if error.__cause__ is None else error.__cause__
        if earlier is None or id(earlier) in seen:
            return
        seen.add(id(earlier))
        yield earlier
        error = earlier


class _FramesLeftOut(traceback.FrameSummary):
    """Stands in a stack for frames that are not told."""

    def __init__(self, frames: int) -> None:
        super().__init__("", None, "", lookup_line=False)
        self.text = f"  … {frames} frames left out …\n"


class _Stack(traceback.StackSummary):
    """A stack that may hold such a frame."""

    def format_frame_summary(self, frame_summary: traceback.FrameSummary, **settings: Any) -> str:
        """The frame's lines."""
        if isinstance(frame_summary, _FramesLeftOut):
            return frame_summary.text
        return super().format_frame_summary(frame_summary, **settings)


def _told(error: BaseException, frames_left_out: dict[int, int]) -> traceback.TracebackException:
    """Looks at the exception, what led to it and the members of groups, as the library does it.

    The library looks at every member of a group before it leaves out most of them.
    """
    seen: set[int] = set()

    def look_at(one: BaseException) -> traceback.TracebackException:
        told = traceback.TracebackException(type(one), one, one.__traceback__, lookup_lines=False, _seen=seen)
        _trim(told, frames_left_out.get(id(one), 0))
        found.append((told, one))
        return told

    found: list[tuple[traceback.TracebackException, BaseException]] = []
    top = look_at(error)
    while found:
        told, one = found.pop()
        told.__cause__ = told.__context__ = told.exceptions = None
        if one.__cause__ is not None and id(one.__cause__) not in seen:
            told.__cause__ = look_at(one.__cause__)
        elif one.__context__ is not None and not one.__suppress_context__ and id(one.__context__) not in seen:
            told.__context__ = look_at(one.__context__)
        if isinstance(one, BaseExceptionGroup):
            members = [look_at(member) for member in one.exceptions[:GROUP_MEMBERS_MAX]]
            # Those beyond are counted and not shown.
            told.exceptions = members + members[-1:] * (len(one.exceptions) - len(members))
    return top


def _trim(told: traceback.TracebackException, frames_left_out: int) -> None:
    """Takes out frames of runner and import machinery, and most of a long message."""
    # Formatting would copy it, and it may be most of the memory.
    text = getattr(told, "_str", None)
    if isinstance(text, str):
        told._str = _tellable(text)  # type: ignore[attr-defined]
    if told.stack is not None:
        stack = _Stack(told.stack)
        if frames_left_out:
            stack.insert(_head_frames(len(stack)), _FramesLeftOut(frames_left_out))
        stack[:] = [frame for frame in stack if not _is_inner(frame.filename)]
        told.stack = stack or None  # type: ignore[assignment]  # no frame left: no header over nothing


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
