"""asyncio's event loop in a sandbox: callbacks and timers, no I/O to wait for.

It takes the place of the module for Unix. Waiting is sleeping, which in a sandbox with the default clock takes
no time. When no timer is set and nothing is ready, nothing can ever happen again; that is an error and no wait.
"""

import time
import warnings

from _sandbox import PIPES, PROCESSES, THREADS, no_network, unsupported

from . import base_events, events

__all__ = (
    "AbstractChildWatcher",
    "DefaultEventLoopPolicy",
    "EventLoop",
    "FastChildWatcher",
    "MultiLoopChildWatcher",
    "PidfdChildWatcher",
    "SafeChildWatcher",
    "SelectorEventLoop",
    "ThreadedChildWatcher",
)

_DEADLOCK = "ppwasm: every coroutine waits for another one and no timer is set, so this would wait for ever"


class _Timers:
    """What the loop waits with, in place of a selector."""

    def select(self, timeout):
        if timeout is None:
            raise RuntimeError(_DEADLOCK)
        if timeout > 0:
            time.sleep(timeout)
        return ()


class SandboxEventLoop(base_events.BaseEventLoop):
    """An event loop without I/O."""

    def __init__(self, _selector=None):
        super().__init__()
        self._selector = _Timers()

    def _process_events(self, event_list):
        """No event comes from outside."""

    def _write_to_self(self):
        """Nothing has to be woken: there is no other thread."""

    def run_in_executor(self, executor, func, *args):
        if executor is None:
            raise RuntimeError(THREADS)
        return super().run_in_executor(executor, func, *args)

    async def shutdown_default_executor(self, timeout=None):
        """There is none."""

    async def _no_network(self, *_args, **_kwargs):
        raise no_network()

    async def _no_pipes(self, *_args, **_kwargs):
        raise unsupported(PIPES)

    async def _no_processes(self, *_args, **_kwargs):
        raise unsupported(PROCESSES)

    create_connection = create_server = create_datagram_endpoint = connect_accepted_socket = _no_network
    create_unix_connection = create_unix_server = start_tls = sendfile = _no_network
    getaddrinfo = getnameinfo = _no_network
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = sock_sendall = sock_sendto = _no_network
    sock_connect = sock_accept = sock_sendfile = _no_network
    connect_read_pipe = connect_write_pipe = _no_pipes
    subprocess_exec = subprocess_shell = _no_processes


class AbstractChildWatcher:
    """A watcher of child processes. It can be made, as programs do before they look for a process to watch."""

    def __init_subclass__(cls):
        if cls.__module__ != __name__:
            _warn_of_removal("AbstractChildWatcher")

    def add_child_handler(self, pid, callback, *args):
        raise unsupported(PROCESSES)

    def remove_child_handler(self, pid):
        return False

    def attach_loop(self, loop):
        """There is nothing to attach."""

    def close(self):
        """There is nothing to close."""

    def is_active(self):
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        """There is nothing to end."""


class SafeChildWatcher(AbstractChildWatcher):
    """See `AbstractChildWatcher`."""


class FastChildWatcher(AbstractChildWatcher):
    """See `AbstractChildWatcher`."""


class PidfdChildWatcher(AbstractChildWatcher):
    """See `AbstractChildWatcher`."""


class MultiLoopChildWatcher(AbstractChildWatcher):
    """See `AbstractChildWatcher`."""


class ThreadedChildWatcher(AbstractChildWatcher):
    """See `AbstractChildWatcher`."""

    def __init__(self):
        self._threads = {}


class _DefaultEventLoopPolicy(events.BaseDefaultEventLoopPolicy):
    """Makes event loops of this module."""

    _loop_factory = SandboxEventLoop
    _watcher = None

    def get_child_watcher(self):
        if self._watcher is None:
            self._watcher = ThreadedChildWatcher()
        _warn_of_removal("get_child_watcher")
        return self._watcher

    def set_child_watcher(self, watcher):
        assert watcher is None or isinstance(watcher, AbstractChildWatcher)
        self._watcher = watcher
        _warn_of_removal("set_child_watcher")


def _warn_of_removal(name):
    warnings._deprecated(
        name, "{name!r} is deprecated as of Python 3.12 and will be removed in Python {remove}.", remove=(3, 14)
    )


SelectorEventLoop = EventLoop = SandboxEventLoop
DefaultEventLoopPolicy = _DefaultEventLoopPolicy
