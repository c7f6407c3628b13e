"""The C part of `multiprocessing` in a sandbox: locks of the one process that there is.

A program may make its locks and counters before it looks for processes to share them with.
"""

import time

SEM_VALUE_MAX = 2147483647
_RECURSIVE_MUTEX = 0


class SemLock:
    """A semaphore or recursive lock that nobody else can hold."""

    SEM_VALUE_MAX = SEM_VALUE_MAX

    def __init__(self, kind, value, maxvalue, name, unlink):
        if not 0 <= value <= maxvalue:
            raise ValueError("invalid value")
        self.kind = kind
        self.maxvalue = maxvalue
        self.name = None if unlink else name
        self.handle = 0
        self._value = value
        self._held = 0

    @classmethod
    def _rebuild(cls, _handle, kind, maxvalue, name):
        return cls(kind, maxvalue, maxvalue, name, False)

    def acquire(self, block=True, timeout=None):
        if self.kind == _RECURSIVE_MUTEX and self._held:
            self._held += 1
            return True
        if self._value > 0:
            self._value -= 1
            self._held += 1
            return True
        if not block:
            return False
        if timeout is None:
            raise RuntimeError(
                "ppwasm: this would wait for ever, because a sandbox has no other process to release the lock"
            )
        time.sleep(max(timeout, 0))
        return False

    def release(self):
        if self.kind == _RECURSIVE_MUTEX:
            if not self._held:
                raise AssertionError("attempt to release recursive lock not owned by thread")
            self._held -= 1
            if self._held:
                return
        elif self._value >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        else:
            self._held -= 1
        self._value += 1

    def _count(self):
        return self._held

    def _is_mine(self):
        return self._held > 0

    def _get_value(self):
        return self._value

    def _is_zero(self):
        return self._value == 0

    def _after_fork(self):
        self._held = 0

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_exception):
        self.release()


def sem_unlink(_name):
    """There is no name to take away."""


flags = {}
