"""Holds what CPython's regression tests do in the guest against the list in `expected.toml`.

The functions are pure, and run in the guest as well: the Rust test calls them there.

    compare.py tasks (--all | --quick | NAME...)                     the job's tasks as a JSON array
    compare.py check TESTS (--all | --quick | NAME...) <RESULT       differences and a summary; exit code 1 if any
    compare.py update TESTS <RESULT                                  writes the list anew from a run of everything

TESTS is the folder of CPython's tests, RESULT what `ppwasm submit --output json` said of those tasks.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

UNEXPLAINED = "unexplained"
ALL = ".*"
"""At the end of a listed name: all tests below it."""
ALL_FROM = 3
"""So many tests of one class are listed as all of it."""


class Expected(NamedTuple):
    """What is expected of one file."""

    passes: int
    """At least so many tests pass; 0: none can, and `cannot` says why."""
    cannot: str | None
    fails: dict[str, list[str]]
    """Tests that fail, by reason."""
    not_run: dict[str, list[str]]
    """Tests that are left out because they would end the sandbox or take too long, by reason."""

    def left_out(self) -> list[str]:
        """The names of the tests that are not run."""
        return sorted(name for names in self.not_run.values() for name in names)


class Expectations(NamedTuple):
    """The list."""

    reasons: dict[str, str]
    quick: list[str]
    first: list[str]
    """Files that take longest, started first so that none is left alone at the end."""
    files: dict[str, Expected]


def parse(text: str) -> Expectations:
    """Reads the list and checks that every reason is explained."""
    data = tomllib.loads(text)
    files = {name: Expected(count, None, {}, {}) for name, count in data["passes"].items()}
    files |= {name: Expected(0, reason, {}, {}) for name, reason in data["cannot"].items()}
    for name, entry in data["passes-except"].items():
        files[name] = Expected(entry["passes"], None, entry.get("fails", {}), entry.get("not-run", {}))
    count = len(data["passes"]) + len(data["cannot"]) + len(data["passes-except"])
    if count != len(files):
        raise ValueError("a file is listed twice")
    expectations = Expectations(data["reasons"], data["quick"]["files"], data["first"]["files"], files)
    used: set[str] = set()
    for name, expected in files.items():
        used.update(expected.fails, expected.not_run, [expected.cannot] if expected.cannot else [])
        if expected.cannot is None and expected.passes < 1:
            raise ValueError(f"{name} is listed as passing with no test that passes")
    if used != set(expectations.reasons):
        raise ValueError(f"reasons that are not explained or not used: {sorted(used ^ set(expectations.reasons))}")
    for name in [*expectations.quick, *expectations.first]:
        if name not in files:
            raise ValueError(f"{name} is not in the list")
    return expectations


def tasks(text: str, chosen: str | list[str]) -> list[dict[str, Any]]:
    """The argument of each of the job's tasks: for all files, the quick ones or those named."""
    return list(_tasks(parse(text), chosen))


def _tasks(expectations: Expectations, chosen: str | list[str]) -> Iterator[dict[str, Any]]:
    for name in _names(expectations, chosen):
        yield {"name": name, "not_run": expectations.files[name].left_out()}


def _names(expectations: Expectations, chosen: str | list[str]) -> list[str]:
    if isinstance(chosen, list):
        unknown = [name for name in chosen if name not in expectations.files]
        if unknown:
            raise ValueError(f"not in the list: {', '.join(unknown)}")
        return chosen
    names = expectations.quick if chosen == "quick" else expectations.files
    return sorted(names, key=lambda name: (name not in expectations.first, name))


def differences(text: str, results: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each difference between the list and what was run.

    A result has the file's `name`, its `report` from the driver, or null and in `ended` how else its sandbox ended.
    """
    expectations = parse(text)
    lines: list[str] = []
    for result in results:
        name = result["name"]
        expected = expectations.files[name]
        if result["report"] is None:
            lines.append(f"{name}: {result['ended']}")
        else:
            lines += (f"{name}: {line}" for line in _differences(expected, result["report"]))
    return lines


def _differences(expected: Expected, report: dict[str, Any]) -> Iterator[str]:
    passed, failed = report["passed"], report["failed"]
    if expected.cannot is not None:
        if passed:
            yield f"{len(passed)} tests pass, although it is listed as one where none can ({expected.cannot})"
        return
    if report["no_import"] is not None:
        yield f"cannot be imported: {_last_line(report['no_import'])}"
        return
    if len(passed) < expected.passes:
        yield f"{len(passed)} tests pass, {expected.passes} are expected"
    listed = [name for names in expected.fails.values() for name in names]
    for name in failed:
        if not any(_is_in(name, one) for one in listed):
            yield f"{name} fails: {_last_line(failed[name])}"
    for one in listed:
        if not any(_is_in(name, one) for name in failed):
            yield f"{one} does not fail any more"
        elif one.endswith(ALL):
            yield from (f"{name} passes, although all of {one} are listed" for name in passed if _is_in(name, one))


def _is_in(name: str, listed: str) -> bool:
    return name.startswith(listed[:-1]) if listed.endswith(ALL) else name == listed


def unlisted(text: str, tests: Iterable[str]) -> list[str]:
    """One line for each file that is in the tests or in the list but not in both."""
    files = set(parse(text).files)
    tests = set(tests)
    lines = [f"{name}: is not in the list" for name in sorted(tests - files)]
    return lines + [f"{name}: is in the list, but there is no such file" for name in sorted(files - tests)]


def tests_below(folder: str, prefix: str = "") -> Iterator[str]:
    """The names of all test files and packages, as `python -m test` splits them."""
    for entry in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(entry)
        name = prefix + stem
        if not stem.startswith("test_") or extension not in ("", ".py"):
            continue
        if name in SPLIT_PACKAGES:
            yield from tests_below(f"{folder}/{entry}", f"{name}.")
        else:
            yield name


# As in `test.libregrtest.findtests`.
SPLIT_PACKAGES = {
    "test_asyncio",
    "test_concurrent_futures",
    "test_doctests",
    "test_future_stmt",
    "test_gdb",
    "test_inspect",
    "test_pydoc",
    "test_multiprocessing_fork",
    "test_multiprocessing_forkserver",
    "test_multiprocessing_spawn",
}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines() or [""]
    return lines[-1]


# The command


def main(arguments: list[str]) -> int:
    """Runs the command; the exit code."""
    path = Path(__file__).with_name("expected.toml")
    text = path.read_text(encoding="utf-8")
    match arguments:
        case ["tasks", *rest]:
            json.dump(tasks(text, _chosen(rest)), sys.stdout)
        case ["check", tests, *rest]:
            return _check(text, tests, _chosen(rest))
        case ["update", tests]:
            path.write_text(_updated(text, tests, json.load(sys.stdin)), encoding="utf-8")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def _chosen(arguments: list[str]) -> str | list[str]:
    if arguments in (["--all"], ["--quick"]):
        return arguments[0].removeprefix("--")
    return arguments


def _check(text: str, tests: str, chosen: str | list[str]) -> int:
    names = [task["name"] for task in tasks(text, chosen)]
    results = _results(names, json.load(sys.stdin))
    lines = unlisted(text, tests_below(tests)) + differences(text, results)
    print("\n".join(lines), end="\n" if lines else "")
    reports = [result["report"] for result in results if result["report"]]
    tests_passed = sum(len(report["passed"]) for report in reports)
    tests_failed = sum(len(report["failed"]) for report in reports)
    tests_skipped = sum(len(report["skipped"]) for report in reports)
    files = parse(text).files
    whole = sum(not (files[name].cannot or files[name].fails or files[name].not_run) for name in names)
    cannot = sum(files[name].cannot is not None for name in names)
    print(
        f"{len(names)} files: {whole} pass, {len(names) - whole - cannot} pass but for listed tests, {cannot} cannot; "
        f"{tests_passed} tests passed, {tests_failed} failed, {tests_skipped} skipped; {len(lines)} differences"
    )
    return 1 if lines else 0


def _results(names: list[str], document: dict[str, Any]) -> list[dict[str, Any]]:
    """A job's result by task, as `differences` wants it."""
    results = [{"name": name, "report": None, "ended": "was not run"} for name in names]
    for task in document["tasks"]:
        result = results[task["task"]]
        if task["outcome"] == "succeeded":
            result["report"] = task["value"]
        else:
            result["ended"] = _ending(task)
    return results


def _ending(task: dict[str, Any]) -> str:
    details = [task[key] for key in ("exception", "cause", "limit") if key in task]
    words = [str(detail.get("type") or detail.get("name")) for detail in details]
    last = [line for line in str(task.get("stderr", "")).splitlines() if line.startswith("test: ")][-1:]
    return " ".join([task["outcome"], *words, *(f"in {line.removeprefix('test: ')}" for line in last)])


def _updated(text: str, tests: str, document: dict[str, Any]) -> str:
    """The list as a run of everything has it. What fails newly has the reason `unexplained`, which is refused."""
    old = parse(text)
    results = {result["name"]: result for result in _results(_names(old, "all"), document)}
    files = {}
    for name in tests_below(tests):
        before = old.files.get(name, Expected(0, None, {}, {}))
        report = results[name]["report"] if name in results else None
        files[name] = before if report is None else _seen(before, report)
    comment = [line for line in text.partition("\n\n")[0].splitlines() if line.startswith("#")]
    return written(comment, old._replace(files=files))


def _seen(before: Expected, report: dict[str, Any]) -> Expected:
    if not report["passed"]:
        return Expected(0, before.cannot or UNEXPLAINED, {}, {})
    reasons: dict[str, str] = {}
    for name in report["failed"]:
        known = (reason for reason, names in before.fails.items() for one in names if _is_in(name, one))
        reasons[name] = next(known, UNEXPLAINED)
    fails: dict[str, set[str]] = {}
    for name, reason in reasons.items():
        fails.setdefault(reason, set()).add(_widest(name, reasons, report["passed"]))
    return Expected(
        len(report["passed"]), None, {reason: sorted(names) for reason, names in fails.items()}, before.not_run
    )


def _widest(name: str, reasons: dict[str, str], passed: list[str]) -> str:
    """The name for all of a failed test's class if no other has passed or has another reason, else the test's."""
    listed = name.rpartition(".")[0] + ALL
    alike = {reason for other, reason in reasons.items() if _is_in(other, listed)}
    count = sum(_is_in(other, listed) for other in reasons)
    is_all = count >= ALL_FROM and len(alike) == 1 and not any(_is_in(other, listed) for other in passed)
    return listed if is_all and "." in name else name


def written(comment: list[str], expectations: Expectations) -> str:
    """The list as text."""
    lines = [*comment, "", "[reasons]"]
    lines += (f"{reason} = {json.dumps(why)}" for reason, why in expectations.reasons.items())
    for title, names in (("quick", expectations.quick), ("first", expectations.first)):
        lines += ["", f"[{title}]", *_array("files", names)]
    files = sorted(expectations.files.items())
    lines += ["", "[passes]"]
    lines += (f"{_key(name)} = {e.passes}" for name, e in files if e.passes and not (e.fails or e.not_run))
    lines += ["", "[cannot]"]
    lines += (f'{_key(name)} = "{e.cannot}"' for name, e in files if e.cannot is not None)
    for name, e in files:
        if e.fails or e.not_run:
            lines += ["", f"[passes-except.{_key(name)}]", f"passes = {e.passes}"]
            for table, by_reason in (("fails", e.fails), ("not-run", e.not_run)):
                for reason, names in sorted(by_reason.items()):
                    lines += _array(f"{table}.{reason}", sorted(names))
    return "\n".join([*lines, ""])


def _array(key: str, names: Iterable[str]) -> list[str]:
    return [f"{key} = [", *(f"    {json.dumps(name)}," for name in names), "]"]


def _key(name: str) -> str:
    return f'"{name}"' if "." in name else name


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"regression: {error}")
