"""Writes a linked module without custom sections, and once more with only the names of its functions, for profilers.

`strip_module.py LINKED STRIPPED NAMED`
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from wasm_module import Module


def main(linked: Path, stripped: Path, named: Path) -> None:
    """Reads `linked`, writes the other two; their functions have the same numbers."""
    module = Module(linked.read_bytes())
    stripped.write_bytes(module.without_custom_sections())
    named.write_bytes(module.without_custom_sections(but=frozenset({"name"})))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
