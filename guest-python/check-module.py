"""Proves on a guest module the rules of docs/guest-abi.md, section "The module".

`check-module.py MODULE [--imports FILE [--update]]`: prints what the module is and exits 1 with one line for each
broken rule. `--imports` compares the imported functions with the list in FILE, `--update` writes it instead.
Putting a slot's memory and stack pointer back to an image is complete only while these rules hold.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))

from wasm_module import CUSTOM, START, Limits, Malformed, Module

WASI = "wasi_snapshot_preview1"
STACK_POINTER = "__stack_pointer"
MEMORY = Limits(minimum=64 << 4, maximum=65536, shared=False)
FUNCTIONS = {
    "_initialize": "() -> ()",
    "ppwasm_start": "() -> (i32)",
    "ppwasm_buffer": "(i32) -> (i32)",
    "ppwasm_load": "(i32) -> (i64)",
    "ppwasm_call": "(i32) -> (i64)",
    "ppwasm_trap": "() -> ()",
}
FORBIDDEN = {
    0x26: "table.set",
    0xFC0008: "memory.init",
    0xFC0009: "data.drop",
    0xFC000C: "table.init",
    0xFC000D: "elem.drop",
    0xFC000E: "table.copy",
    0xFC000F: "table.grow",
    0xFC0011: "table.fill",
}
# Vector instructions whose result may depend on the machine.
RELAXED_SIMD = range(0xFD0100, 0xFD0200)


def main() -> int:
    """Checks the module that the command line names; the exit status."""
    parser = argparse.ArgumentParser(description="checks a guest module against docs/guest-abi.md")
    parser.add_argument("module", type=Path)
    parser.add_argument("--imports", type=Path, help="file with the names of the imported functions")
    parser.add_argument("--update", action="store_true", help="write the file of imports instead of comparing")
    arguments = parser.parse_args()

    try:
        module = Module(arguments.module.read_bytes())
        opcodes = module.opcodes()
        broken = [*_interface(module), *_state(module), *_instructions(opcodes)]
    except (Malformed, IndexError, KeyError) as error:
        print(f"{arguments.module}: not a module that this checker can read: {error!r}", file=sys.stderr)
        return 1
    if arguments.imports:
        broken += _imports_file(module, arguments.imports, arguments.update)
    for rule in broken:
        print(f"{arguments.module}: {rule}", file=sys.stderr)
    if not broken:
        size, functions, instructions = len(module.data), len(module.function_types()), sum(opcodes.values())
        sizes = f"{size:,} bytes, {functions:,} functions, {instructions:,} instructions"
        print(f"{arguments.module}: keeps the rules; {sizes}")
    return 1 if broken else 0


def _interface(module: Module) -> Iterator[str]:
    for imported in module.imports():
        if imported.kind != "func" or imported.module != WASI:
            yield f"imports {imported.kind} {imported.module}.{imported.field}"
    exports = module.exports()
    expected = {*FUNCTIONS, "memory", STACK_POINTER}
    for name in sorted(expected - exports.keys()):
        yield f"does not export {name}"
    for name in sorted(exports.keys() - expected):
        yield f"exports {name}, which the interface does not have"
    types, function_types = module.types(), module.function_types()
    for name, expected_type in FUNCTIONS.items():
        kind, index = exports.get(name, ("nothing", 0))
        found = types[function_types[index]] if kind == "func" else kind
        if name in exports and found != expected_type:
            yield f"exports {name} as {found}, not {expected_type}"
    if exports.get("memory", ("memory", 0)) != ("memory", 0):
        yield "exports something else than its memory as memory"


def _state(module: Module) -> Iterator[str]:
    if module.memories() != [MEMORY]:
        yield f"has memories {module.memories()}, not one of {MEMORY}"
    if module.table_count() > 1:
        yield f"has {module.table_count()} tables"
    mutable = module.mutable_globals()
    stack_pointer = module.exports().get(STACK_POINTER)
    if [("global", index) for index in mutable] != [stack_pointer]:
        yield f"has mutable globals {mutable}, and {STACK_POINTER} is {stack_pointer}"
    if any(section.number == START for section in module.sections):
        yield "has a start section"
    for number, flags in enumerate(module.element_flags()):
        if flags & 1:
            yield f"element segment {number} is not active"
    for number, flags in enumerate(module.data_flags()):
        if flags == 1:
            yield f"data segment {number} is passive"
    for section in module.sections:
        if section.number == CUSTOM:
            yield f"has a custom section, {section.name}"


def _instructions(opcodes: dict[int, int]) -> Iterator[str]:
    for opcode, name in FORBIDDEN.items():
        if opcode in opcodes:
            yield f"contains {opcodes[opcode]} of {name}"
    relaxed = sum(count for opcode, count in opcodes.items() if opcode in RELAXED_SIMD)
    if relaxed:
        yield f"contains {relaxed} relaxed vector instructions"


def _imports_file(module: Module, path: Path, update: bool) -> Iterator[str]:
    names = sorted(imported.field for imported in module.imports())
    if update:
        path.write_text("".join(f"{name}\n" for name in names))
        return
    listed = path.read_text().split()
    for name in sorted(set(names) - set(listed)):
        yield f"imports {name}, which {path.name} does not list"
    for name in sorted(set(listed) - set(names)):
        yield f"does not import {name}, which {path.name} lists"


if __name__ == "__main__":
    sys.exit(main())
