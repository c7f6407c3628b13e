"""Measures one peer: `peers.py NAME CALLS TRIPS` prints one line of JSON. Every answer is checked.

`start_s` is from the start of whatever the peer needs to its first result, `tasks_per_s` of CALLS calls that are
queued at once, `round_trip_us` the median of TRIPS calls, each waited for. All have two workers on this machine.
"""

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WORKERS = 2
SECRET = "benchmark"


def f(x: int) -> int:
    """What every peer runs, and the fabric as well."""
    return x + 1


class Peer:
    """How a peer is asked: for one answer, and for many at once."""

    def __init__(self, one: Callable[[int], Any], many: Callable[[range], list[Any]]) -> None:
        """Remembers both."""
        self.one, self.many = one, many


@contextmanager
def pool() -> Iterator[Peer]:
    """Python's own pool of processes, the older one. In chunks of one: each call is a task of its own, as everywhere else."""
    import multiprocessing

    with multiprocessing.Pool(WORKERS) as workers:
        yield Peer(lambda x: workers.apply(f, (x,)), lambda xs: workers.map(f, xs, chunksize=1))


@contextmanager
def executor() -> Iterator[Peer]:
    """Python's own pool of processes, the newer one."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as workers:
        yield Peer(lambda x: workers.submit(f, x).result(), lambda xs: list(workers.map(f, xs, chunksize=1)))


@contextmanager
def dask() -> Iterator[Peer]:
    """A scheduler and two workers as processes, and a client."""
    import logging

    from distributed import Client, LocalCluster

    # What it says about its own shutdown.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # Without `pure=False` it would remember results of earlier calls.
        yield Peer(
            lambda x: client.submit(f, x, pure=False).result(),
            lambda xs: client.gather(client.map(f, xs, pure=False)),
        )


@contextmanager
def ray() -> Iterator[Peer]:
    """A node of its own with two workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray as library

    library.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        remote = library.remote(f)
        yield Peer(
            lambda x: library.get(remote.remote(x)), lambda xs: library.get([remote.remote(x) for x in xs])
        )
    finally:
        library.shutdown()


@contextmanager
def ppft(servers: tuple[str, ...] = ()) -> Iterator[Peer]:
    """Parallel Python's fork: local workers over pipes, or those of a server."""
    import pp

    client = pp.Server(ncpus=0 if servers else WORKERS, ppservers=servers, secret=SECRET)
    try:
        while servers and len(client.get_active_nodes()) < 2:
            # It counts itself as a node.
            time.sleep(0.001)
        yield Peer(
            lambda x: client.submit(f, (x,))(),
            lambda xs: [job() for job in [client.submit(f, (x,)) for x in xs]],
        )
    finally:
        client.destroy()


@contextmanager
def ppft_remote(*, no_delay: bool = False) -> Iterator[Peer]:
    """The same over TCP on loopback, as it is, or with TCP_NODELAY on every socket of both sides."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "ppserver", "nodelay" if no_delay else "delay"]
    command += ["-i", "127.0.0.1", "-p", str(port), "-w", str(WORKERS), "-s", SECRET]
    if no_delay:
        set_no_delay()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        with ppft((f"127.0.0.1:{port}",)) as peer:
            yield peer
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int) -> None:
    """Returns when somebody listens."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.005)
    sys.exit("peers: ppserver does not listen")


def set_no_delay() -> None:
    """Every TCP socket of this process sends at once from now on."""
    plain = socket.socket

    class Socket(plain):  # type: ignore[misc, valid-type]
        """One that does."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.family in (socket.AF_INET, socket.AF_INET6) and self.type & socket.SOCK_STREAM:
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    socket.socket = Socket  # type: ignore[misc]


def serve(mode: str, arguments: list[str]) -> None:
    """Runs ppft's server in this process."""
    import runpy

    if mode == "nodelay":
        set_no_delay()
    sys.argv = ["ppserver", *arguments]
    runpy.run_module("ppft.server", run_name="__main__")


PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[Peer]]] = {
    "pool": pool,
    "executor": executor,
    "dask": dask,
    "ray": ray,
    "ppft": ppft,
    "ppft_remote": ppft_remote,
    "ppft_nodelay": lambda: ppft_remote(no_delay=True),
}


def check(results: list[Any], xs: range) -> None:
    """Ends the program unless every answer is right."""
    if results != [x + 1 for x in xs]:
        sys.exit("peers: wrong answer")


def measure(name: str, calls: int, trips: int) -> dict[str, float]:
    """Starts a peer, measures, ends it."""
    started = time.perf_counter()
    with PEERS[name]() as peer:
        check([peer.one(1)], range(1, 2))
        start_s = time.perf_counter() - started
        warm = range(max(20, calls // 10))
        check(peer.many(warm), warm)
        started = time.perf_counter()
        results = peer.many(range(calls))
        seconds = time.perf_counter() - started
        check(results, range(calls))
        times = []
        for x in range(trips):
            started = time.perf_counter()
            result = peer.one(x)
            times.append(time.perf_counter() - started)
            check([result], range(x, x + 1))
    return {
        "start_s": start_s,
        "tasks_per_s": calls / seconds,
        "round_trip_us": statistics.median(times) * 1e6,
    }


def main() -> None:
    """See the module."""
    match sys.argv[1:]:
        case ["ppserver", mode, *arguments]:
            serve(mode, arguments)
        case [name, calls, trips]:
            print(json.dumps(measure(name, int(calls), int(trips))), flush=True)
        case _:
            sys.exit(f"peers.py {'|'.join(PEERS)} CALLS TRIPS")


if __name__ == "__main__":
    main()
