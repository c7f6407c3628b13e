"""Runs all tests of this folder: on an ordinary interpreter, and as a script in the guest.

For the guest, the bundle holds this folder's Python files under their paths, and the job gets the golden files as
inputs beside them.
"""

from __future__ import annotations

import importlib
import sys
import unittest

EVERYWHERE = ("test_values", "test_runner")
IN_GUEST = ("test_accelerated", "test_sandbox")
"""Modules about what only the guest has."""
NAMES = IN_GUEST + EVERYWHERE if sys.platform == "wasi" else EVERYWHERE

# Before any test runs: some replace the modules that are imported here.
for name in NAMES:
    importlib.import_module(name)


def main() -> None:
    """Runs what the arguments name, or everything; the exit code says how it went."""
    loader = unittest.defaultTestLoader
    names = sys.argv[1:] or NAMES
    print("tests of", *names)
    suite = loader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(stream=sys.stdout).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
