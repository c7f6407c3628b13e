"""`pwd` in a sandbox: the list of users, which is empty."""

from collections import namedtuple

from _sandbox import USERS as _USERS

struct_passwd = namedtuple(
    "struct_passwd", ("pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell"), module="pwd"
)


def getpwnam(name, /):
    raise KeyError(f"getpwnam(): name not found: {name!r} ({_USERS})")


def getpwuid(uid, /):
    raise KeyError(f"getpwuid(): uid not found: {uid} ({_USERS})")


def getpwall():
    return []
