"""`pwd` in a sandbox: the one user, whose home is the working directory, and root, to whom nothing belongs."""

from collections import namedtuple

from _sandbox import USER_NUMBER as _USER_NUMBER
from _sandbox import USERS as _USERS

struct_passwd = namedtuple(
    "struct_passwd", ("pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell"), module="pwd"
)

_ALL = (
    struct_passwd("root", "x", 0, 0, "", "/", ""),
    struct_passwd("user", "x", _USER_NUMBER, _USER_NUMBER, "", "/work", ""),
)


def getpwnam(name, /):
    if not isinstance(name, str):
        raise TypeError(f"getpwnam() argument must be str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError("embedded null character")
    for entry in _ALL:
        if entry.pw_name == name:
            return entry
    raise KeyError(f"getpwnam(): name not found: {name!r} ({_USERS})")


def getpwuid(uid, /):
    if not isinstance(uid, int):
        raise TypeError(f"uid should be integer, not {type(uid).__name__}")
    for entry in _ALL:
        if entry.pw_uid == uid:
            return entry
    raise KeyError(f"getpwuid(): uid not found: {uid} ({_USERS})")


def getpwall():
    return list(_ALL)
