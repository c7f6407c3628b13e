"""The runner: the Python that lives in the sandbox and runs the user's functions.

The guest's C part calls `start`, `load` and `call`. Nothing here is for users to import.
"""

from _ppwasm.runner import call, load, start

__all__ = ["call", "load", "start"]
