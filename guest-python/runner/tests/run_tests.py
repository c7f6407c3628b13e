"""Runs all tests of this folder: on an ordinary interpreter, and as a script in the guest.

For the guest, the bundle holds this folder's Python files under their paths, and the job gets the golden files as
inputs beside them.
"""

from __future__ import annotations

import sys
import unittest

import test_runner
import test_sandbox
import test_values


def main() -> None:
    """Runs what the arguments name, or everything; the exit code says how it went."""
    loader = unittest.defaultTestLoader
    if sys.argv[1:]:
        suite = loader.loadTestsFromNames(sys.argv[1:])
    else:
        suite = unittest.TestSuite(map(loader.loadTestsFromModule, (test_values, test_runner, test_sandbox)))
    result = unittest.TextTestRunner(stream=sys.stdout).run(suite)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
