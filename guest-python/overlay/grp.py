"""`grp` in a sandbox: the one user's group, and root's."""

from collections import namedtuple

from _sandbox import USER_NUMBER as _USER_NUMBER
from _sandbox import USERS as _USERS

struct_group = namedtuple("struct_group", ("gr_name", "gr_passwd", "gr_gid", "gr_mem"), module="grp")

_ALL = (("root", "x", 0), ("user", "x", _USER_NUMBER))


def getgrnam(name):
    if not isinstance(name, str):
        raise TypeError(f"getgrnam() argument must be str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError("embedded null character")
    for entry in _ALL:
        if entry[0] == name:
            return struct_group(*entry, [])
    raise KeyError(f"getgrnam(): name not found: {name!r} ({_USERS})")


def getgrgid(id):  # noqa: A002
    if not isinstance(id, int):
        raise TypeError(f"gid should be integer, not {type(id).__name__}")
    for entry in _ALL:
        if entry[2] == id:
            return struct_group(*entry, [])
    raise KeyError(f"getgrgid(): gid not found: {id} ({_USERS})")


def getgrall():
    return [struct_group(*entry, []) for entry in _ALL]
