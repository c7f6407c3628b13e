"""Classes by name, and the state of their instances: what lets the user's own objects travel."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from importlib import import_module
from types import BuiltinFunctionType, MemberDescriptorType


class Classes:
    """Finds classes by module and qualified name, in the bundle and in the standard library only."""

    def __init__(self, bundle_modules: Container[str] = ()) -> None:
        self.bundle_modules = bundle_modules

    def find(self, module: str, qualname: str) -> type | None:
        """The class of that name, or None."""
        if module not in self.bundle_modules and not _is_standard(module):
            return None
        found: object = sys.modules.get(module)
        if found is None:
            try:
                found = import_module(module)
            except ImportError:
                return None
        for name in qualname.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                return None
        return found if isinstance(found, type) else None

    def why_not(self, cls: type) -> str | None:
        """The reason why `cls` cannot be found by its name, or None when it can."""
        module, qualname = cls.__module__, cls.__qualname__
        if "<locals>" in qualname:
            return "its class is defined inside a function"
        if self.find(module, qualname) is not cls:
            return f"its class is not found as {module}.{qualname}"
        return None

    def copies_plainly(self, cls: type) -> str | None:
        """Why the instances of `cls` are more than their attributes, or None when they are not."""
        if cls.__module__ not in self.bundle_modules:
            return ""
        for method in ("__reduce__", "__reduce_ex__", "__getstate__"):
            if getattr(cls, method) is not getattr(object, method):
                return f", and {method} of its own says how to copy it"
        return None


def _is_standard(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names and top != "__main__"


def has_plain_layout(cls: type) -> bool:
    """Whether instances of `cls` hold nothing but attributes: no base written in C keeps content of its own."""
    return not any(
        isinstance(vars(base).get("__new__"), BuiltinFunctionType) for base in cls.__mro__ if base is not object
    )


def attributes(value: object) -> dict[str, object]:
    """The instance's own attributes: slots, then `__dict__`."""
    state: dict[str, object] = {}
    for name, slot in _slots(type(value)):
        try:
            state[name] = slot.__get__(value)
        except AttributeError:
            continue
    state.update(getattr(value, "__dict__", ()))
    # Bookkeeping of `typing`: `Box[int](1)` leaves it on the instance, and nothing reads it.
    state.pop("__orig_class__", None)
    return state


def restore(cls: type, state: dict[str, object]) -> object:
    """An instance of `cls` with these attributes, `__init__` not run. `AttributeError` when it has no room for one."""
    value: object = object.__new__(cls)
    slots = dict(_slots(cls))
    own = getattr(value, "__dict__", None)
    for name, attribute in state.items():
        if name in slots:
            slots[name].__set__(value, attribute)
        elif own is not None:
            own[name] = attribute
        else:
            raise AttributeError(name)
    return value


def _slots(cls: type) -> Iterator[tuple[str, MemberDescriptorType]]:
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType):
                yield name, member
