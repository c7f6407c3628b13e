"""The C part of `multiprocessing.shared_memory` in a sandbox, which has none."""

from _sandbox import SHARED_MEMORY, unsupported


def shm_open(path, flags, mode=511):
    raise unsupported(SHARED_MEMORY)


def shm_unlink(path):
    raise unsupported(SHARED_MEMORY)
