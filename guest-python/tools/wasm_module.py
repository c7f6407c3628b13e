"""Reads a WebAssembly module as far as the build needs it: sections, their entries, every instruction.

What a module must and must not contain is not decided here but in `check-module.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\0asm\x01\0\0\0"
CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA = range(12)
SECTION_NAMES = (
    *("custom", "type", "import", "function", "table", "memory", "global"),
    *("export", "start", "element", "code", "data", "data-count", "tag"),
)
KINDS = ("func", "table", "memory", "global", "tag")
VALUE_TYPES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref"}

# How the immediates of an opcode are laid out.
_NONE, _LEB, _LEB2, _BYTES4, _BYTES8, _BLOCK_TYPE, _BR_TABLE, _SELECT, _MEMORY_ACCESS = range(9)
_MISC_LEBS = [0] * 8 + [2, 1, 2, 1, 2, 1, 2, 1, 1, 1]


class Malformed(Exception):
    """The module is not one that this reader understands."""


@dataclass(frozen=True)
class Section:
    """One section: its number, its name when it is a custom one, and where its contents lie."""

    number: int
    name: str
    start: int
    contents: int
    end: int


@dataclass(frozen=True)
class Limits:
    """Size of a memory or table; `maximum` is None when there is none."""

    minimum: int
    maximum: int | None
    shared: bool


class Reader:
    """A position in the module's bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        """The next byte."""
        self.at += 1
        return self.data[self.at - 1]

    def leb(self) -> int:
        """The next unsigned LEB128 number."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def skip(self, length: int) -> None:
        """Passes over bytes. (`at += leb()` would take the position from before the number.)"""
        self.at += length

    def skip_leb(self) -> None:
        """Passes over a LEB128 number, signed or not."""
        while self.byte() >= 0x80:
            pass

    def name(self) -> str:
        """The next length-prefixed UTF-8 text."""
        length = self.leb()
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def limits(self) -> Limits:
        """The next limits of a memory or table."""
        flags = self.byte()
        if flags > 3:
            raise Malformed(f"limits with flags {flags:#x}")
        minimum = self.leb()
        return Limits(minimum, self.leb() if flags & 1 else None, bool(flags & 2))


@dataclass(frozen=True)
class Import:
    """An import: module, field and kind; for a function the index of its type."""

    module: str
    field: str
    kind: str
    type_index: int


class Module:
    """A module read from bytes."""

    def __init__(self, data: bytes) -> None:
        if data[:8] != MAGIC:
            raise Malformed("not a WebAssembly core module")
        self.data = data
        self.sections = list(self._sections())

    def _sections(self) -> Iterator[Section]:
        reader = Reader(self.data, 8)
        while reader.at < len(self.data):
            start = reader.at
            number = reader.byte()
            if number >= len(SECTION_NAMES):
                raise Malformed(f"section number {number}")
            size = reader.leb()
            end = reader.at + size
            name = reader.name() if number == CUSTOM else SECTION_NAMES[number]
            yield Section(number, name, start, reader.at, end)
            reader.at = end

    def without_custom_sections(self, but: frozenset[str] = frozenset()) -> bytes:
        """The module's bytes without custom sections, except those named."""
        kept = (s for s in self.sections if s.number != CUSTOM or s.name in but)
        return MAGIC + b"".join(self.data[s.start : s.end] for s in kept)

    def entries(self, number: int) -> Iterator[Reader]:
        """A reader at each entry of a section; whoever iterates must read the entry completely."""
        for section in self.sections:
            if section.number == number:
                reader = Reader(self.data, section.contents)
                for _ in range(reader.leb()):
                    yield reader
                if reader.at != section.end:
                    raise Malformed(f"the {section.name} section does not end where it says")

    def types(self) -> list[str]:
        """Every function type, written as `(i32 i64) -> (i32)`."""
        found = []
        for reader in self.entries(TYPE):
            if reader.byte() != 0x60:
                raise Malformed("a type that is not a function's")
            lists = [[VALUE_TYPES[reader.byte()] for _ in range(reader.leb())] for _ in range(2)]
            found.append(f"({' '.join(lists[0])}) -> ({' '.join(lists[1])})")
        return found

    def imports(self) -> list[Import]:
        """Every import."""
        found = []
        for reader in self.entries(IMPORT):
            module, field, kind = reader.name(), reader.name(), KINDS[reader.byte()]
            type_index = -1
            if kind == "func":
                type_index = reader.leb()
            elif kind == "global":
                reader.at += 2
            else:
                reader.at += kind == "table"
                reader.limits()
            found.append(Import(module, field, kind, type_index))
        return found

    def function_types(self) -> list[int]:
        """The type index of every function, imported ones first."""
        imported = [i.type_index for i in self.imports() if i.kind == "func"]
        return imported + [reader.leb() for reader in self.entries(FUNCTION)]

    def exports(self) -> dict[str, tuple[str, int]]:
        """Exported name to kind and index."""
        return {reader.name(): (KINDS[reader.byte()], reader.leb()) for reader in self.entries(EXPORT)}

    def memories(self) -> list[Limits]:
        """The memories that the module defines."""
        return [reader.limits() for reader in self.entries(MEMORY)]

    def table_count(self) -> int:
        """How many tables the module defines."""
        count = 0
        for reader in self.entries(TABLE):
            if reader.byte() not in VALUE_TYPES:
                raise Malformed("a table with an initial expression")
            reader.limits()
            count += 1
        return count

    def mutable_globals(self) -> list[int]:
        """Indices of the mutable globals that the module defines (imported ones are not counted)."""
        found = []
        for index, reader in enumerate(self.entries(GLOBAL)):
            reader.byte()
            if reader.byte():
                found.append(index)
            _skip_expression(reader)
        return found

    def element_flags(self) -> list[int]:
        """The flags of every element segment; 1, 3, 5 and 7 are the ones that are not active."""
        found = []
        for reader in self.entries(ELEMENT):
            flags = reader.leb()
            if flags & 1 == 0:
                if flags & 2:
                    reader.skip_leb()
                _skip_expression(reader)
            if flags & 3:
                reader.byte()
            for _ in range(reader.leb()):
                _skip_expression(reader) if flags & 4 else reader.skip_leb()
            found.append(flags)
        return found

    def data_flags(self) -> list[int]:
        """The flags of every data segment; 1 is passive."""
        found = []
        for reader in self.entries(DATA):
            flags = reader.leb()
            if flags == 2:
                reader.skip_leb()
            if flags != 1:
                _skip_expression(reader)
            reader.skip(reader.leb())
            found.append(flags)
        return found

    def opcodes(self) -> dict[int, int]:
        """Every opcode in the code to how often it occurs; opcodes behind a prefix count as `prefix << 16 | opcode`."""
        counts: dict[int, int] = {}
        for reader in self.entries(CODE):
            end = reader.leb() + reader.at
            for _ in range(reader.leb()):
                reader.skip_leb()
                reader.byte()
            while reader.at < end:
                opcode = _skip_instruction(reader)
                counts[opcode] = counts.get(opcode, 0) + 1
        return counts


def _skip_expression(reader: Reader) -> None:
    while _skip_instruction(reader) != 0x0B:
        pass


def _layouts() -> list[int]:
    layouts = [-1] * 256
    for first, last, layout in (
        (0x00, 0x01, _NONE),
        (0x02, 0x04, _BLOCK_TYPE),
        (0x05, 0x05, _NONE),
        (0x0B, 0x0B, _NONE),
        (0x0C, 0x0D, _LEB),
        (0x0E, 0x0E, _BR_TABLE),
        (0x0F, 0x0F, _NONE),
        (0x10, 0x10, _LEB),
        (0x11, 0x11, _LEB2),
        (0x12, 0x12, _LEB),
        (0x13, 0x13, _LEB2),
        (0x1A, 0x1B, _NONE),
        (0x1C, 0x1C, _SELECT),
        (0x20, 0x26, _LEB),
        (0x28, 0x3E, _MEMORY_ACCESS),
        (0x3F, 0x42, _LEB),
        (0x43, 0x43, _BYTES4),
        (0x44, 0x44, _BYTES8),
        (0x45, 0xC4, _NONE),
        (0xD0, 0xD0, _LEB),
        (0xD1, 0xD1, _NONE),
        (0xD2, 0xD2, _LEB),
    ):
        layouts[first : last + 1] = [layout] * (last + 1 - first)
    return layouts


_LAYOUTS = _layouts()


def _skip_instruction(reader: Reader) -> int:
    data = reader.data
    opcode = data[reader.at]
    at = reader.at + 1
    layout = _LAYOUTS[opcode]
    if layout in (_LEB, _MEMORY_ACCESS, _BLOCK_TYPE):
        if layout == _MEMORY_ACCESS:
            while data[at] >= 0x80:
                at += 1
            at += 1
        while data[at] >= 0x80:
            at += 1
        reader.at = at + 1
        return opcode
    reader.at = at
    if layout == _NONE:
        return opcode
    if layout == _BYTES4:
        reader.at += 4
    elif layout == _BYTES8:
        reader.at += 8
    elif layout == _LEB2:
        reader.skip_leb()
        reader.skip_leb()
    elif layout == _SELECT:
        reader.skip(reader.leb())
    elif layout == _BR_TABLE:
        for _ in range(reader.leb() + 1):
            reader.skip_leb()
    elif opcode == 0xFC:
        return _skip_misc(reader)
    elif opcode == 0xFD:
        return _skip_vector(reader)
    else:
        raise Malformed(f"opcode {opcode:#x} at {at - 1:#x}")
    return opcode


def _skip_misc(reader: Reader) -> int:
    opcode = reader.leb()
    if opcode >= len(_MISC_LEBS):
        raise Malformed(f"opcode 0xfc {opcode:#x} at {reader.at:#x}")
    for _ in range(_MISC_LEBS[opcode]):
        reader.skip_leb()
    return 0xFC0000 | opcode


def _skip_vector(reader: Reader) -> int:
    opcode = reader.leb()
    if opcode <= 11 or opcode in (92, 93):
        reader.skip_leb()
        reader.skip_leb()
    elif opcode in (12, 13):
        reader.at += 16
    elif 21 <= opcode <= 34:
        reader.at += 1
    elif 84 <= opcode <= 91:
        reader.skip_leb()
        reader.skip_leb()
        reader.at += 1
    return 0xFD0000 | opcode
