"""Random generators of the image: seeded anew at the start of each call.

A generator that a program makes while it is loaded (`random`'s own one, `rng = random.Random()` in a module)
would otherwise give every task the same numbers. `random.Random(7)` keeps the seed it was given.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from _ppwasm.bundle import Finder


class Seeding:
    """Watches the library's `random` while a bundle is loaded. It is not in the base image, so it is seen coming."""

    def __init__(self, program: Finder) -> None:
        self._program = program
        self._unseeded: WeakSet[Any] = WeakSet()
        self._class: Any = None
        self._plain_seed: Callable[..., None] | None = None

    def watch(self) -> None:
        """Begins to note the generators that are made."""
        sys.meta_path.insert(0, self)

    def finish(self) -> list[Any]:
        """Ends watching; the generators that each call has to seed."""
        sys.meta_path.remove(self)
        if self._class is not None:
            self._class.seed = self._plain_seed
        return list(self._unseeded)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "random" or name in self._program.files:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _RandomLoader(name, spec.origin, self)
        return spec

    def note(self, module: ModuleType) -> None:
        """Has `random`'s class tell which generators are made without a seed."""
        unseeded = self._unseeded
        self._class = module.Random
        self._plain_seed = plain_seed = module.Random.seed

        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            """Initialize internal state from a seed."""
            if a is None:
                unseeded.add(generator)
            else:
                unseeded.discard(generator)
            plain_seed(generator, a, version)

        module.Random.seed = seed
        # The module has made its own generator already, and `random.seed` is bound to the plain method: each
        # call seeds it whatever the program did.
        unseeded.add(module._inst)


class _RandomLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, seeding: Seeding) -> None:
        super().__init__(name, path)
        self.seeding = seeding

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self.seeding.note(module)
