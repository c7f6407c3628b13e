"""`fcntl` in a sandbox: file locks are granted, because nobody else is there; the rest has nothing to act on."""

import os as _os

from _sandbox import DEVICES as _DEVICES
from _sandbox import descriptor as _descriptor
from _sandbox import unsupported as _unsupported

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_SETOWN, F_GETOWN = range(10)
F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
F_DUPFD_CLOEXEC = 1030
FD_CLOEXEC = 1
LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN = 1, 2, 4, 8


def fcntl(fd, cmd, arg=0, /):
    _descriptor(fd)
    raise _unsupported(_DEVICES)


def ioctl(fd, request, arg=0, mutate_flag=True, /):
    _descriptor(fd)
    raise _unsupported(_DEVICES)


def flock(fd, operation, /):
    _os.fstat(_descriptor(fd))


def lockf(fd, cmd, len=0, start=0, whence=0, /):  # noqa: A002
    number = _descriptor(fd)
    if not cmd & (LOCK_SH | LOCK_EX | LOCK_UN):
        raise ValueError("unrecognized lockf argument")
    _os.fstat(number)
