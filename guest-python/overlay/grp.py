"""`grp` in a sandbox: the list of groups of users, which is empty."""

from collections import namedtuple

from _sandbox import USERS as _USERS

struct_group = namedtuple("struct_group", ("gr_name", "gr_passwd", "gr_gid", "gr_mem"), module="grp")


def getgrnam(name):
    raise KeyError(f"getgrnam(): name not found: {name!r} ({_USERS})")


def getgrgid(id):  # noqa: A002
    raise KeyError(f"getgrgid(): gid not found: {id} ({_USERS})")


def getgrall():
    return []
