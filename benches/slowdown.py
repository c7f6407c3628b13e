#!/usr/bin/env python3
"""How much slower Python code runs in the guest than natively, or one guest against another.

Runs pyperformance's benchmarks interleaved (native, guest, native, guest, …) and compares their CPU time, or, under
valgrind, the instructions that they execute. What a benchmark computes has to be equal on both sides. `--help` says
the rest; README.md says how to read the figures.
"""

import argparse
import dataclasses
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STAND_IN = HERE / "pyperformance"
ENVIRONMENT = {"PYTHONHASHSEED": "1", "PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
FOR_HOST = ("PPWASM_CACHE_DIR", "XDG_CACHE_HOME", "PPWASM_GUEST_DIR")
VALGRIND = [
    "valgrind",
    "--tool=cachegrind",
    "--cache-sim=no",
    "--cachegrind-out-file=/dev/null",
    "--trace-children=yes",
]
# Benchmarks whose single loop takes longer are run three times at most.
LONG_RUN_NS = 500e6
# One loop of these takes so long that counting its instructions takes minutes.
TOO_LONG_TO_COUNT = (
    *(
        "async_generators",
        "async_tree_none",
        "async_tree_none_tg",
        "async_tree_eager_tg",
        "docutils",
        "fannkuch",
        "mdp",
    ),
    *("pprint_pformat", "pprint_safe_repr", "pyflate", "tomli_loads"),
)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of pyperformance: its name, the folder of its script, the script's arguments."""

    name: str
    folder: str
    options: tuple[str, ...] = ()
    # What it leaves behind that differs rightly: it depends on addresses or on the size of a pointer.
    incomparable: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The script's path below the folder of benchmarks."""
        return f"bm_{self.folder}/run_benchmark.py"


def _one(*names: str) -> list[Benchmark]:
    return [Benchmark(name, name) for name in names]


def _several(folder: str, *names: str, options: tuple[str, ...] = ()) -> list[Benchmark]:
    return [Benchmark(name, folder, options) for name in names]


def _pickle(name: str, *options: str) -> list[Benchmark]:
    # The dictionaries hold random numbers up to sys.maxsize.
    return [Benchmark(name, "pickle", options, ("DICT_GROUP",))]


# All that need neither a C extension from outside the standard library, nor threads, processes or sockets. Left out
# besides: those that wait on purpose (async_tree_io and its like), python_startup, 2to3 and sympy, which are mostly the
# import of a large package, and logging_*: 3.13.5 has a slow check in `logging` that Debian's 3.13.5 has taken out.
SUITE: list[Benchmark] = [
    *_one("async_generators"),
    Benchmark("async_tree_none", "async_tree", ("none",)),
    Benchmark("async_tree_none_tg", "async_tree", ("none", "--task-groups")),
    Benchmark("async_tree_eager", "async_tree", ("eager",)),
    Benchmark("async_tree_eager_tg", "async_tree", ("eager", "--task-groups")),
    *_one("chaos", "comprehensions", "coroutines", "crypto_pyaes"),
    *_several("deepcopy", "deepcopy", "deepcopy_reduce", "deepcopy_memo"),
    *_one("deltablue", "docutils", "fannkuch", "float"),
    Benchmark("create_gc_cycles", "gc_collect"),
    *_one("gc_traversal", "generators", "go", "hexiom", "html5lib", "json_dumps"),
    Benchmark("json_loads", "json_loads", (), ("DICT_GROUP", "json_dict_group", "objs")),
    *_one("mdp", "meteor_contest", "nbody", "nqueens"),
    Benchmark("pathlib", "pathlib", (), ("tmp_path",)),
    *_pickle("pickle", "pickle"),
    *_pickle("pickle_dict", "pickle_dict"),
    *_pickle("pickle_list", "pickle_list"),
    *_pickle("pickle_pure_python", "--pure-python", "pickle"),
    *_pickle("unpickle", "unpickle"),
    *_pickle("unpickle_list", "unpickle_list"),
    *_pickle("unpickle_pure_python", "--pure-python", "unpickle"),
    *_one("pidigits"),
    *_several("pprint", "pprint_safe_repr", "pprint_pformat"),
    *_one("pyflate", "raytrace", "regex_compile", "regex_dna", "regex_effbot", "regex_v8"),
    *_one("richards", "richards_super"),
    *_several(
        "scimark",
        "scimark_fft",
        "scimark_lu",
        "scimark_monte_carlo",
        "scimark_sor",
        "scimark_sparse_mat_mult",
    ),
    *_one("spectral_norm"),
    Benchmark("sqlglot_normalize", "sqlglot", ("normalize",)),
    Benchmark("sqlglot_optimize", "sqlglot", ("optimize",)),
    Benchmark("sqlglot_parse", "sqlglot", ("parse",)),
    Benchmark("sqlglot_transpile", "sqlglot", ("transpile",)),
    *_one("sqlite_synth", "telco", "tomli_loads", "typing_runtime_protocols", "unpack_sequence"),
    *_several("xml_etree", "xml_etree_parse", "xml_etree_iterparse", "xml_etree_generate", "xml_etree_process"),
]


@dataclass(frozen=True)
class Measured:
    """One run: its CPU time in nanoseconds or its instructions, and digests of what it computed."""

    cost: float
    fingerprint: dict[str, str]


class BenchmarkError(Exception):
    """A benchmark did not run."""


class Native:
    """A native interpreter; a process for each run."""

    def __init__(self, program: str, suite: Path) -> None:
        self.program = program
        self.suite = suite

    def run(self, benchmark: Benchmark, loops: int) -> Measured:
        """Runs the benchmark and takes the CPU time that it reports."""
        answer = self.answer([], benchmark, loops)
        return Measured(answer["cpu_ns"], answer["fingerprint"])

    def answer(self, prefix: list[str], benchmark: Benchmark, loops: int) -> dict[str, Any]:
        """What the benchmark reports, run by `prefix`."""
        arguments = [
            *prefix,
            *(self.program, "-X", "utf8", "-S", "-s", "-B", str(STAND_IN / "drive.py")),
            *(str(self.suite / benchmark.script), benchmark.name, str(loops), *benchmark.options),
        ]
        done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchmarkError(done.stderr.strip()[-2000:])
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def close(self) -> None:
        """Nothing is kept."""


class Guest:
    """A guest in one process that runs one benchmark after the other, each in a fresh sandbox."""

    def __init__(self, program: str, guest: Path | None, suite: Path) -> None:
        self.arguments = [program, "--folder", str(suite)]
        if guest is not None:
            self.arguments += ["--guest", str(guest)]
        self.environment = ENVIRONMENT | {name: os.environ[name] for name in FOR_HOST if name in os.environ}
        self.process: subprocess.Popen[str] | None = None
        # Compiles the guest if that has not been done: it would take an hour under valgrind.
        subprocess.run(self.arguments, stdin=subprocess.DEVNULL, env=self.environment, check=True)

    def run(self, benchmark: Benchmark, loops: int) -> Measured:
        """Runs the benchmark and takes the CPU time that the host measured."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(self._request(benchmark, loops))
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit("slowdown: the guest's process ended (see above)")
        answer = self._parsed(line)
        return Measured(answer["cpu_ns"], answer["fingerprint"])

    def answer(self, prefix: list[str], benchmark: Benchmark, loops: int) -> dict[str, Any]:
        """What the benchmark reports, in a process of its own, run by `prefix`."""
        done = subprocess.run(
            [*prefix, *self.arguments],
            input=self._request(benchmark, loops),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchmarkError(done.stderr.strip()[-2000:])
        return self._parsed(done.stdout)

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()

    @staticmethod
    def _request(benchmark: Benchmark, loops: int) -> str:
        request = {
            "script": benchmark.script,
            "benchmark": benchmark.name,
            "loops": loops,
            "options": benchmark.options,
        }
        return json.dumps(request) + "\n"

    @staticmethod
    def _parsed(line: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(answer["error"][-2000:])
        return answer


class Counted:
    """Counts the instructions of another side's loops, the one that warms up included: of all, less those of none."""

    def __init__(self, side: Native | Guest) -> None:
        self.side = side

    def run(self, benchmark: Benchmark, loops: int) -> Measured:
        """Runs the benchmark twice and takes the difference."""
        none, _ = self._count(benchmark, 0)
        some, answer = self._count(benchmark, loops)
        return Measured(some - none, answer["fingerprint"])

    def _count(self, benchmark: Benchmark, loops: int) -> tuple[int, dict[str, Any]]:
        with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
            answer = self.side.answer([*VALGRIND, f"--log-file={log.name}"], benchmark, loops)
            found = re.search(r"I +refs: +([\d,]+)", log.read())
        if found is None:
            raise BenchmarkError("valgrind did not tell how many instructions there were")
        return int(found[1].replace(",", "")), answer

    def close(self) -> None:
        """Closes the other side."""
        self.side.close()


Side = Native | Guest | Counted


@dataclass
class Row:
    """What came of one benchmark."""

    name: str
    loops: int
    before: float
    after: float
    ratio: float
    different: list[str]

    @property
    def equal(self) -> bool:
        """Whether the sides computed the same."""
        return not self.different


def main() -> None:
    """Parses the command line, measures, prints."""
    options = _options()
    suite = Path(_prepared("suite"))
    benchmarks = [b for b in SUITE if _is_wanted(b, options)]
    if not benchmarks:
        raise SystemExit("slowdown: no benchmark matches")
    native_program, native_kind = _prepared("python").split("\t")
    native = Native(native_program, suite)
    before, after, titles = _sides(options, native, native_kind, suite)
    unit, scale = ("million instructions", 1e6) if options.instructions else ("CPU ms", 1e6)
    print(f"before: {titles[0]}\nafter:  {titles[1]}\nunit:   {unit}")
    print(f"{'benchmark':28}{'loops':>7}{'before':>11}{'after':>11}{'ratio':>8}")
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for benchmark in benchmarks:
        try:
            row = _compare(benchmark, native, before, after, options)
        except BenchmarkError as error:
            failed[benchmark.name] = str(error)
            print(f"{benchmark.name:28} failed: {str(error).splitlines()[-1]}", flush=True)
            continue
        rows.append(row)
        remark = "" if row.equal else f"  DIFFERENT: {', '.join(row.different)}"
        print(
            f"{row.name:28}{row.loops:7}{row.before / scale:11.2f}{row.after / scale:11.2f}{row.ratio:8.3f}{remark}",
            flush=True,
        )
    before.close()
    after.close()
    geomean = _geomean([row.ratio for row in rows]) if rows else math.nan
    print(f"{'geometric mean of ' + str(len(rows)):57}{geomean:8.3f}")
    if options.json:
        report = {
            "before": titles[0],
            "after": titles[1],
            "unit": unit,
            "geomean": geomean,
            "rows": [dataclasses.asdict(row) | {"equal": row.equal} for row in rows],
            "failed": failed,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if failed or not all(row.equal for row in rows):
        sys.exit(1)


def _is_wanted(benchmark: Benchmark, options: argparse.Namespace) -> bool:
    if options.only:
        return any(re.search(pattern, benchmark.name) for pattern in options.only)
    return not (options.instructions and benchmark.name in TOO_LONG_TO_COUNT)


def _sides(
    options: argparse.Namespace, native: Native, native_kind: str, suite: Path
) -> tuple[Side, Side, tuple[str, str]]:
    guest = Guest(options.binary, options.guest, suite)
    before: Native | Guest = native
    after = guest
    titles = (native_kind, f"guest {options.guest or 'that the host finds'}")
    if options.vs is not None or options.vs_binary is not None:
        before = guest
        after = Guest(options.vs_binary or options.binary, options.vs or options.guest, suite)
        titles = (" ".join(before.arguments), " ".join(after.arguments))
    if options.instructions:
        return Counted(before), Counted(after), titles
    return before, after, titles


def _compare(benchmark: Benchmark, native: Native, before: Side, after: Side, options: argparse.Namespace) -> Row:
    loops, cost = _calibrated(benchmark, native, options.target_ms * 1e6)
    rounds = min(options.rounds, 3) if cost > LONG_RUN_NS else options.rounds
    befores, afters, ratios = [], [], []
    different: set[str] = set()
    for _ in range(rounds):
        one = before.run(benchmark, loops)
        other = after.run(benchmark, loops)
        different |= {name for name, _ in one.fingerprint.items() ^ other.fingerprint.items()}
        befores.append(one.cost)
        afters.append(other.cost)
        ratios.append(other.cost / one.cost)
    return Row(
        benchmark.name,
        loops,
        statistics.median(befores),
        statistics.median(afters),
        statistics.median(ratios),
        sorted(different - set(benchmark.incomparable)),
    )


def _calibrated(benchmark: Benchmark, native: Native, target_ns: float) -> tuple[int, float]:
    """Loops for which the native interpreter takes about `target_ns`, and what it will take."""
    loops = 1
    while True:
        cost = native.run(benchmark, loops).cost
        if cost >= target_ns / 10 or loops >= 1_000_000:
            # A power of two, so that the next run measures the same.
            chosen = 1 << max(0, round(math.log2(loops * target_ns / cost)))
            return chosen, cost * chosen / loops
        loops *= 10 if cost < target_ns / 100 else 4


def _geomean(values: list[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def _prepared(what: str) -> str:
    done = subprocess.run([HERE / "prepare.sh", what], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="slowdown.sh", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--guest", type=Path, metavar="DIR", help="the guest's folder (default: the one the host finds)")
    add("--vs", type=Path, metavar="DIR", help="compare with this guest instead of native Python: it is 'after'")
    add("--binary", default="target/debug/guest-side", metavar="FILE", help="the program with the host in it")
    add("--vs-binary", metavar="FILE", help="that program for 'after': compares two states of the host")
    add("--only", nargs="+", metavar="REGEX", help="benchmarks whose name matches")
    add("--instructions", action="store_true", help="count instructions under valgrind: exact, whatever else runs")
    add("--rounds", type=int, help="runs on each side (default 7, quick 3, instructions 1)")
    add("--target-ms", type=float, help="length of a native run (default 150, quick 40, instructions 10)")
    add("--quick", action="store_true", help="short runs, few of them")
    add("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    rounds, target_ms = (1, 10) if options.instructions else (3, 40) if options.quick else (7, 150)
    options.rounds = options.rounds or rounds
    options.target_ms = options.target_ms or target_ms
    return options


if __name__ == "__main__":
    main()
