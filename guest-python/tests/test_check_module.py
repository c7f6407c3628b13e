"""Breaks each rule of docs/guest-abi.md in a small module and expects `check-module.py` to name it.

`python3 -m unittest discover guest-python/tests`
"""

import subprocess
import sys
import tempfile
import unittest
from dataclasses import dataclass, field
from pathlib import Path

CHECKER = Path(__file__).resolve().parent.parent / "check-module.py"

I32, I64 = b"\x7f", b"\x7e"
STACK_POINTER_INDEX = 0


def leb(value: int) -> bytes:
    """Unsigned LEB128."""
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def vector(items: list[bytes]) -> bytes:
    """A count and the items."""
    return leb(len(items)) + b"".join(items)


def text(name: str) -> bytes:
    """A length-prefixed name."""
    return leb(len(name)) + name.encode()


def section(number: int, contents: bytes) -> bytes:
    """A section with its head."""
    return bytes([number]) + leb(len(contents)) + contents


def function_type(parameters: bytes, results: bytes) -> bytes:
    """The encoding of a function's type."""
    return b"\x60" + leb(len(parameters)) + parameters + leb(len(results)) + results


@dataclass
class Guest:
    """The smallest module that keeps the rules; each field is a section's entries."""

    types: list[bytes] = field(
        default_factory=lambda: [
            function_type(b"", b""),
            function_type(b"", I32),
            function_type(I32, I32),
            function_type(I32, I64),
        ]
    )
    imports: list[bytes] = field(
        default_factory=lambda: [text("wasi_snapshot_preview1") + text("sched_yield") + b"\x00\x01"]
    )
    functions: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 3])
    tables: list[bytes] = field(default_factory=lambda: [b"\x70\x01\x01\x01"])
    memories: list[bytes] = field(default_factory=lambda: [b"\x01" + leb(1024) + leb(65536)])
    globals: list[bytes] = field(default_factory=lambda: [b"\x7f\x01\x41\x00\x0b", b"\x7f\x00\x41\x00\x0b"])
    exports: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {
            "memory": (2, 0),
            "__stack_pointer": (3, STACK_POINTER_INDEX),
            "_initialize": (0, 1),
            "ppwasm_start": (0, 2),
            "ppwasm_buffer": (0, 3),
            "ppwasm_load": (0, 4),
            "ppwasm_call": (0, 5),
            "ppwasm_trap": (0, 1),
        }
    )
    start: bytes = b""
    elements: list[bytes] = field(default_factory=lambda: [b"\x00\x41\x00\x0b" + vector([b"\x01"])])
    body: bytes = b"\x00"
    data: list[bytes] = field(default_factory=lambda: [b"\x00\x41\x00\x0b" + text("data")])
    custom: bytes = b""

    def encode(self) -> bytes:
        """The module's bytes; every function's body is `unreachable`, but the first one has `body` before it."""
        bodies = [b"\x00" + (self.body if number == 0 else b"") + b"\x00\x0b" for number in range(len(self.functions))]
        exports = [text(name) + bytes([kind, index]) for name, (kind, index) in self.exports.items()]
        sections = [
            section(1, vector(self.types)),
            section(2, vector(self.imports)),
            section(3, vector([leb(index) for index in self.functions])),
            section(4, vector(self.tables)),
            section(5, vector(self.memories)),
            section(6, vector(self.globals)),
            section(7, vector(exports)),
            self.start,
            section(9, vector(self.elements)),
            section(12, leb(len(self.data))),
            section(10, vector([leb(len(body)) + body for body in bodies])),
            section(11, vector(self.data)),
            self.custom,
        ]
        return b"\0asm\x01\0\0\0" + b"".join(sections)


class CheckModule(unittest.TestCase):
    """Runs the checker as the build does."""

    def setUp(self) -> None:
        """A folder for the module."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def check(self, guest: Guest, *options: str) -> subprocess.CompletedProcess[str]:
        """Writes the module and checks it."""
        path = self.folder / "guest.wasm"
        path.write_bytes(guest.encode())
        return subprocess.run([sys.executable, CHECKER, path, *options], capture_output=True, text=True, check=False)

    def assert_refused(self, guest: Guest, reason: str) -> None:
        """The checker names the reason and no other."""
        done = self.check(guest)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(reason, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_a_module_that_keeps_the_rules(self) -> None:
        done = self.check(Guest())
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_imports(self) -> None:
        guest = Guest()
        guest.imports[0] = text("env") + text("abort") + b"\x00\x00"
        self.assert_refused(guest, "imports func env.abort")

    def test_exports(self) -> None:
        guest = Guest()
        del guest.exports["ppwasm_load"]
        self.assert_refused(guest, "does not export ppwasm_load")
        guest = Guest()
        guest.exports["table"] = (1, 0)
        self.assert_refused(guest, "exports table")
        guest = Guest()
        guest.exports["ppwasm_call"] = (0, 3)
        self.assert_refused(guest, "exports ppwasm_call as (i32) -> (i32)")

    def test_memory(self) -> None:
        guest = Guest(memories=[b"\x00" + leb(1024)])
        self.assert_refused(guest, "has memories")

    def test_state_outside_memory(self) -> None:
        guest = Guest()
        guest.globals.append(b"\x7e\x01\x42\x00\x0b")
        self.assert_refused(guest, "has mutable globals [0, 2]")
        guest = Guest()
        guest.tables.append(b"\x70\x00\x01")
        self.assert_refused(guest, "has 2 tables")

    def test_segments(self) -> None:
        guest = Guest()
        guest.data.append(b"\x01" + text("late"))
        self.assert_refused(guest, "data segment 1 is passive")
        for flags in (1, 3):
            guest = Guest()
            guest.elements.append(bytes([flags, 0]) + vector([b"\x01"]))
            self.assert_refused(guest, "element segment 1 is not active")

    def test_start_section(self) -> None:
        self.assert_refused(Guest(start=section(8, b"\x01")), "has a start section")

    def test_custom_section(self) -> None:
        self.assert_refused(Guest(custom=section(0, text("name"))), "has a custom section, name")

    def test_forbidden_instructions(self) -> None:
        instructions = {
            "table.set": b"\x26\x00",
            "memory.init": b"\xfc\x08\x00\x00",
            "data.drop": b"\xfc\x09\x00",
            "table.init": b"\xfc\x0c\x00\x00",
            "elem.drop": b"\xfc\x0d\x00",
            "table.copy": b"\xfc\x0e\x00\x00",
            "table.grow": b"\xfc\x0f\x00",
            "table.fill": b"\xfc\x11\x00",
            "relaxed vector": b"\xfd\x80\x02",
        }
        for name, body in instructions.items():
            with self.subTest(name):
                self.assert_refused(Guest(body=body), name)

    def test_instructions_with_immediates_are_passed_over(self) -> None:
        """Each immediate here holds bytes that would be a forbidden instruction by themselves."""
        for body in (
            b"\x41\x26",
            b"\x42\xa6\x00",
            b"\x43\xfc\x08\x00\x00",
            b"\x44\x26\x26\x26\x26\x26\x26\x26\x26",
            b"\x28\x02\x26",
            b"\x0e\x02\x26\x26\x26",
            b"\x11\x26\x00",
            b"\x1c\x01\x7f",
            b"\xfc\x0a\x00\x00",
            b"\xfc\x0b\x00",
            b"\xfd\x0c" + b"\x26" * 16,
            b"\xfd\x54\x00\x26\x26",
            b"\xfd\x15\x26",
        ):
            with self.subTest(body.hex()):
                self.assertEqual(self.check(Guest(body=body)).returncode, 0)

    def test_unknown_instruction(self) -> None:
        self.assert_refused(Guest(body=b"\xfe\x00"), "not a module that this checker can read")

    def test_list_of_imports(self) -> None:
        listed = self.folder / "imports.txt"
        self.assertEqual(self.check(Guest(), "--imports", str(listed), "--update").returncode, 0)
        self.assertEqual(listed.read_text(), "sched_yield\n")
        self.assertEqual(self.check(Guest(), "--imports", str(listed)).returncode, 0)
        listed.write_text("fd_read\n")
        done = self.check(Guest(), "--imports", str(listed))
        self.assertEqual(done.returncode, 1)
        self.assertIn("imports sched_yield, which imports.txt does not list", done.stderr)
        self.assertIn("does not import fd_read, which imports.txt lists", done.stderr)


if __name__ == "__main__":
    unittest.main()
