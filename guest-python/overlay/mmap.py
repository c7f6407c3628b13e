"""`mmap` in a sandbox: names to import, and an error for who maps a file."""

from _sandbox import MAPPED_FILES as _MAPPED_FILES
from _sandbox import unsupported as _unsupported

error = OSError
ACCESS_DEFAULT, ACCESS_READ, ACCESS_WRITE, ACCESS_COPY = 0, 1, 2, 3
MAP_SHARED, MAP_PRIVATE, MAP_ANON, MAP_ANONYMOUS = 1, 2, 0x20, 0x20
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
PAGESIZE = ALLOCATIONGRANULARITY = 65536


class mmap:  # noqa: N801
    """A mapped file, which cannot be made."""

    def __new__(cls, *_args, **_kwargs):
        raise _unsupported(_MAPPED_FILES)
