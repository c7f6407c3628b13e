"""What the host gets for each kind of bundle and call (docs/guest-abi.md)."""

from __future__ import annotations

import random
import re
import sys
import textwrap
import unittest
from typing import cast

from fresh_runner import FreshRunner, Reply

from _ppwasm import failures

RECURSION = """\
import sys
def first(left):
    return f(left)
def f(left):
    sys.setrecursionlimit(100_000)
    if left > 1:
        return f(left - 1)
    raise ValueError("the end")
"""


class RunnerTest(unittest.TestCase):
    """A test with a runner of its own."""

    def setUp(self) -> None:
        self.runner = FreshRunner()
        self.addCleanup(self.runner.close)

    def loaded(self, source: str, function: str | None = "f", **others: str) -> None:
        reply = self.runner.load(textwrap.dedent(source), function, None, **others)
        self.assertEqual(reply, Reply(False, None))

    def returned(self, *args: object, **kwargs: object) -> object:
        reply = self.runner.call(*args, **kwargs)
        self.assertFalse(reply.raised, reply.value)
        return reply.value

    def raised(self, reply: Reply, kind: str, message: str) -> str:
        self.assertTrue(reply.raised, reply.value)
        self.assertEqual((reply.value["type"], reply.value["message"]), (kind, message))
        text = reply.value["traceback"]
        self.assertNotIn("_ppwasm", text)
        self.assertNotIn("importlib", text)
        assert isinstance(text, str)
        return text


class Functions(RunnerTest):
    def test_a_function_is_called_with_its_arguments(self) -> None:
        self.loaded("def f(a, *, b=1):\n    return [a, b]")
        self.assertEqual(self.returned((1, 2), b={3}), [(1, 2), {3}])
        self.assertEqual(self.returned(a=None), [None, 1])

    def test_a_call_before_any_bundle(self) -> None:
        self.raised(self.runner.call(1), "ppwasm.NothingLoaded", "no function was loaded into this image")

    def test_the_module_is_imported_once_and_is_not_main(self) -> None:
        self.loaded("print('imported', __name__)\nif __name__ == '__main__':\n    1/0\ndef f(): return __file__")
        self.assertEqual(self.returned(), "job.py")
        self.assertEqual(self.returned(), "job.py")
        self.assertEqual(self.runner.output(), ("imported job\n", ""))

    def test_methods_by_qualified_name(self) -> None:
        self.loaded(
            """
            class Outer:
                class Inner:
                    @staticmethod
                    def double(x): return 2 * x
                    @classmethod
                    def name(cls, x): return cls.__name__ + x
            """,
            "Outer.Inner.double",
        )
        self.assertEqual(self.returned(4), 8)
        reply = self.runner.load("class C:\n    def name(cls): pass\n    name = classmethod(name)", "C.name")
        self.assertFalse(reply.raised)

    def test_any_callable(self) -> None:
        self.loaded("import functools, math\nf = functools.partial(math.pow, 2)")
        self.assertEqual(self.returned(3), 8.0)

    def test_captured_values_are_there_before_the_module_runs(self) -> None:
        reply = self.runner.load("twice = 2 * factor\ndef f(x): return x * twice", captured={"factor": 21})
        self.assertFalse(reply.raised)
        self.assertEqual(self.returned(1), 42)

    def test_a_captured_value_of_a_class_in_another_file(self) -> None:
        reply = self.runner.load(
            "def f(): return point.x",
            captured={},
            shapes="import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int",
        )
        self.assertFalse(reply.raised)
        self.assertEqual(self.runner.call().value["type"], "NameError")

    def test_values_of_the_bundle_s_classes_go_in_and_out(self) -> None:
        self.loaded(
            """
            import dataclasses, enum
            @dataclasses.dataclass
            class Point:
                x: int
            class Colour(enum.Enum):
                RED = 1
            def f(count): return [Point(n) for n in range(count)], Colour.RED
            """
        )
        request = b"\x82\x81\x02\xa0"
        data = self.runner.runner.call(request)
        self.assertTrue(data.startswith(b"\x82\x00\xd9\xea\x63\x82\x82\xd9\xea\x71\x83\x63job\x65Point\xa1\x61x\x00"))

    def test_other_files_are_imported_when_something_asks(self) -> None:
        self.loaded(
            "def f():\n    import helper, pack.inner\n    return helper.VALUE, pack.inner.VALUE, pack.__path__ != []",
            helper="VALUE = 1",
            pack____init__="from . import inner",
            pack__inner="from helper import VALUE\nVALUE += 1",
        )
        self.assertEqual(self.returned(), (1, 2, True))

    def test_a_file_hides_a_library_module(self) -> None:
        import calendar

        self.loaded("import calendar\ndef f(): return calendar.MINE", calendar="MINE = 5")
        self.assertEqual(self.returned(), 5)
        self.assertFalse(hasattr(calendar, "MINE"))

    def test_source_is_found_by_inspect_and_linecache(self) -> None:
        self.loaded(
            """
            import inspect, linecache, helper
            def f():
                return inspect.getsource(f).splitlines()[0], inspect.getsourcefile(f), linecache.getline("helper.py", 1)
            """,
            helper="def g(): pass  # here\n",
        )
        first, file, line = cast("tuple[object, ...]", self.returned())
        self.assertEqual((first, file), ("def f():", "job.py"))
        self.assertIn(line, ("def g(): pass  # here\n", ""))

    def test_argv_is_the_file_s_path(self) -> None:
        self.loaded("import sys\nat_import = sys.argv\ndef f(): return at_import, sys.argv")
        self.assertEqual(self.returned(), (["job.py"], ["job.py"]))

    def test_a_coroutine_function_is_run(self) -> None:
        self.loaded(
            """
            import asyncio
            async def f(x):
                await asyncio.sleep(0.001)
                return x + 1
            """
        )
        self.assertEqual(self.returned(1), 2)


class Refusals(RunnerTest):
    def test_no_such_function(self) -> None:
        source = "import math\ndef main(): pass\ndef other(): pass\nclass C:\n    def method(self): pass"
        for name, message in (
            ("mian", "no function 'mian' in job.py; did you mean 'main'?"),
            ("zzz", "no function 'zzz' in job.py; it has main, other, C"),
            ("C.metod", "no function 'metod' in 'C' in job.py; did you mean 'method'?"),
            ("main.x.y", "no function 'x' in 'main' in job.py"),
        ):
            reply = self.runner.load(source, name)
            self.assertEqual(
                self.raised(reply, "ppwasm.NoSuchFunction", message), f"ppwasm.NoSuchFunction: {message}\n"
            )

    def test_not_a_function(self) -> None:
        reply = self.runner.load("numbers = [1]", "numbers")
        self.raised(reply, "ppwasm.NotAFunction", "'numbers' in job.py is not a function but a list")
        reply = self.runner.load("numbers = 1", "numbers")
        self.raised(reply, "ppwasm.NotAFunction", "'numbers' in job.py is not a function but an int")

    def test_syntax_error(self) -> None:
        for function in ("f", None):
            reply = self.runner.load("x = 1\ny = (2 +\n", function)
            text = self.raised(reply, "SyntaxError", "'(' was never closed (job.py, line 2)")
            self.assertEqual(
                text, "  File \"job.py\", line 2\n    y = (2 +\n        ^\nSyntaxError: '(' was never closed\n"
            )

    def test_syntax_error_in_another_file(self) -> None:
        reply = self.runner.load("import helper\ndef f(): pass", helper="if:\n")
        text = self.raised(reply, "SyntaxError", "invalid syntax (helper.py, line 1)")
        self.assertIn('File "job.py", line 1, in <module>\n    import helper\n', text)
        self.assertIn('File "helper.py", line 1\n    if:\n      ^\n', text)

    def test_source_that_is_not_utf_8(self) -> None:
        reply = self.runner.load("x = '\udcff'")
        self.assertEqual(reply.value["type"], "SyntaxError")

    def test_import_error(self) -> None:
        reply = self.runner.load("import no_such_module_anywhere\n")
        text = self.raised(reply, "ModuleNotFoundError", "No module named 'no_such_module_anywhere'")
        self.assertEqual(
            text,
            "Traceback (most recent call last):\n"
            '  File "job.py", line 1, in <module>\n'
            "    import no_such_module_anywhere\n"
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'\n",
        )

    def test_a_module_that_raises_while_it_is_imported(self) -> None:
        reply = self.runner.load("import helper", helper="def g():\n    1 / 0\ng()\n")
        text = self.raised(reply, "ZeroDivisionError", "division by zero")
        self.assertEqual(
            text,
            "Traceback (most recent call last):\n"
            '  File "job.py", line 1, in <module>\n'
            "    import helper\n"
            '  File "helper.py", line 3, in <module>\n'
            "    g()\n"
            "    ~^^\n"
            '  File "helper.py", line 2, in g\n'
            "    1 / 0\n"
            "    ~~^~~\n"
            "ZeroDivisionError: division by zero\n",
        )

    def test_wrong_arguments(self) -> None:
        self.loaded("def f(a): pass")
        text = self.raised(self.runner.call(), "TypeError", "f() missing 1 required positional argument: 'a'")
        self.assertEqual(text, "TypeError: f() missing 1 required positional argument: 'a'\n")
        self.raised(self.runner.call(1, b=2), "TypeError", "f() got an unexpected keyword argument 'b'")

    def test_malformed_requests(self) -> None:
        runner = self.runner.runner
        for request in (b"", b"\x00", b"\x81\x80", b"\x82\x80\x80", b"\x82\x80\xa0\x00", b"\x82\xa0\xa0"):
            self.assertIn(b"ppwasm.MalformedValue", runner.call(request))
        for request in (
            b"",
            b"\x80",
            b"\xa0",
            b"\xa1\x00\x02",
            b"\xa1\x01\x81\x80",
            b"\xa3\x00\x01\x01\x80\x02\x82\x61x\xf6",
            b"\xa3\x00\x01\x01\x80\x02\x82\x61x\x00",
            b"\xa3\x00\x01\x01\x80\x02\x00",
        ):
            self.assertIn(b"ppwasm.MalformedValue", runner.load(request))

    def test_a_result_that_cannot_travel(self) -> None:
        self.loaded('def f(): return [0, 1, 2, {"handle": print}]')
        message = 'result[3]["handle"] cannot travel: it is a builtin function'
        text = self.raised(self.runner.call(), "ppwasm.CannotTravel", message)
        self.assertEqual(text, f"ppwasm.CannotTravel: {message}\n")
        self.loaded("def f():\n    yield 1")
        self.raised(
            self.runner.call(),
            "ppwasm.CannotTravel",
            "result cannot travel: it is a generator; return list(...) of it instead",
        )
        self.loaded("async def g(): pass\ndef f(): return g()")
        reply = self.runner.call()
        self.raised(reply, "ppwasm.CannotTravel", "result cannot travel: it is a coroutine that was not awaited")


class Exceptions(RunnerTest):
    def test_traceback_is_python_s_without_the_runner(self) -> None:
        self.loaded(
            """\
            def f(x):
                return g(x)

            def g(x):
                raise ValueError(f"not {x}")
            """
        )
        text = self.raised(self.runner.call(7), "ValueError", "not 7")
        self.assertEqual(
            text,
            "Traceback (most recent call last):\n"
            '  File "job.py", line 2, in f\n'
            "    return g(x)\n"
            '  File "job.py", line 5, in g\n'
            '    raise ValueError(f"not {x}")\n'
            "ValueError: not 7\n",
        )

    def test_notes_causes_and_groups(self) -> None:
        self.loaded(
            """\
            class OwnError(Exception):
                pass
            def f():
                try:
                    1 / 0
                except ZeroDivisionError as cause:
                    error = OwnError("own")
                    error.add_note("first")
                    error.add_note("second")
                    raise ExceptionGroup("several", [error, ValueError(2)]) from cause
            """
        )
        reply = self.runner.call()
        text = self.raised(reply, "ExceptionGroup", "several (2 sub-exceptions)")
        for piece in ("ZeroDivisionError", "direct cause", "job.OwnError: own", "first", "second", "ValueError: 2"):
            self.assertIn(piece, text)
        self.loaded("def f():\n    e = KeyError('k')\n    e.add_note('n1')\n    e.add_note('n2')\n    raise e")
        self.assertEqual(self.runner.call().value["notes"], ["n1", "n2"])
        self.loaded("class OwnError(Exception): pass\ndef f(): raise OwnError(1)")
        self.raised(self.runner.call(), "job.OwnError", "1")

    def test_exit_codes(self) -> None:
        self.loaded("import sys\ndef f(code): sys.exit(code)")
        for code, told in ((3, 3), (None, 0), (0, 0), (True, 1), ("message", 1), (2**40, -1), (-1, -1)):
            reply = self.runner.call(code)
            self.assertEqual((reply.value["type"], reply.value["exit_code"]), ("SystemExit", told))
        self.loaded("def f(): exit(4)")
        self.assertEqual(self.runner.call().value["exit_code"], 4)

    def test_other_base_exceptions(self) -> None:
        for name in ("KeyboardInterrupt", "GeneratorExit", "BaseException"):
            self.loaded(f"def f(): raise {name}('x')")
            self.raised(self.runner.call(), name, "x")
            self.assertIsNone(self.runner.call().value["exit_code"])

    def test_an_exception_that_cannot_be_printed(self) -> None:
        self.loaded(
            """
            class Bad(Exception):
                def __str__(self): raise SystemExit(9)
                @property
                def __notes__(self): raise KeyError
            def f(): raise Bad
            """
        )
        reply = self.runner.call()
        self.raised(reply, "job.Bad", "<str() of this exception raised SystemExit>")
        self.assertEqual(reply.value["notes"], [])
        self.assertIn("job.Bad", reply.value["traceback"])

    def test_giant_messages_keep_head_and_tail(self) -> None:
        self.loaded("def f(): raise ValueError('head' + 'x' * 1_000_000 + 'tail')")
        reply = self.runner.call()
        for text in (reply.value["message"], reply.value["traceback"].rstrip()):
            self.assertLess(len(text), 66_000)
            self.assertIn("characters left out", text)
            self.assertIn("head", text)
            self.assertTrue(text.endswith("tail"))
        self.loaded("def f(): raise ExceptionGroup('g', [ValueError('x' * 1000) for _ in range(500)])")
        self.assertLess(len(self.runner.call().value["traceback"]), 66_000)
        self.loaded("def f():\n    e = ValueError()\n    for n in range(1000): e.add_note('n' * 100)\n    raise e")
        self.assertEqual(len(self.runner.call().value["notes"]), 100)

    def test_deep_recursion(self) -> None:
        self.loaded("def f(): return f()")
        text = self.raised(self.runner.call(), "RecursionError", "maximum recursion depth exceeded")
        self.assertIn("[Previous line repeated", text)
        self.loaded("import sys\ndef f():\n    sys.setrecursionlimit(100)\n    return f()")
        self.assertEqual(self.runner.call().value["type"], "RecursionError")

    def test_lone_surrogates_are_escaped(self) -> None:
        self.loaded("def f(): raise ValueError('a\\udcff')")
        self.raised(self.runner.call(), "ValueError", "a\\udcff")

    def test_memory_error(self) -> None:
        self.loaded("def f():\n    data = [0]\n    raise MemoryError")
        self.assertEqual(self.runner.call().value["type"], "MemoryError")

    def test_a_long_chain_of_exceptions(self) -> None:
        self.loaded(
            """
            def f():
                error = None
                for number in range(5000):
                    new = ValueError(number)
                    new.__cause__ = error
                    error = new
                raise error
            """
        )
        reply = self.runner.call()
        self.assertEqual((reply.value["type"], reply.value["message"]), ("ValueError", "4999"))
        text = reply.value["traceback"]
        kept = range(5000 - failures.EXCEPTIONS_MAX, 5000)
        told = [f"ValueError: {number}" for number in kept]
        self.assertEqual([line for line in text.splitlines() if line.startswith("ValueError")], told)
        self.assertTrue(text.startswith(f"… {5000 - failures.EXCEPTIONS_MAX} earlier exceptions left out …\n"))

    def test_a_chain_of_as_many_exceptions_as_are_told(self) -> None:
        self.loaded(
            """
            def f(count):
                try:
                    if count > 1:
                        f(count - 1)
                finally:
                    raise ValueError(count)
            """
        )
        for count, is_cut in ((failures.EXCEPTIONS_MAX, False), (failures.EXCEPTIONS_MAX + 1, True)):
            text = self.runner.call(count).value["traceback"]
            self.assertEqual("1 earlier exceptions left out" in text, is_cut)
            self.assertEqual("ValueError: 1\n" in text, not is_cut)
            self.assertTrue(text.endswith(f"ValueError: {count}\n"))

    def test_a_traceback_of_as_many_frames_as_are_told(self) -> None:
        self.loaded(RECURSION, "first")
        runners_and_first = 2
        for frames, left_out in ((failures.FRAMES_MAX, 0), (failures.FRAMES_MAX + 1, 1), (60_000, 58_000)):
            text = self.raised(self.runner.call(frames - runners_and_first), "ValueError", "the end")
            self.assertIn("line 3, in first\n", text)
            self.assertIn("line 7, in f\n", text)
            repeated = sum(int(number) for number in re.findall(r"Previous line repeated (\d+) more times?", text))
            if left_out:
                self.assertIn(f"\n  … {left_out} frames left out …\n", text)
                # Beside them: the runner's own frame, `first`, the last line, and three lines before each repetition.
                self.assertEqual(repeated, failures.FRAMES_MAX - 9)
            else:
                self.assertNotIn("left out", text)
                self.assertEqual(repeated, frames - 6)

    def test_long_tracebacks_of_many_exceptions(self) -> None:
        self.loaded(
            """
            import sys
            def deep(n):
                if n: deep(n - 1)
                raise_it()
            def raise_it(): raise ValueError
            def f():
                sys.setrecursionlimit(20_000)
                errors = []
                for _ in range(20):
                    try: deep(5_000)
                    except ValueError as error: errors.append(error)
                raise ExceptionGroup("many", errors)
            """
        )
        reply = self.runner.call()
        self.assertEqual(reply.value["type"], "ExceptionGroup")
        text = reply.value["traceback"]
        self.assertEqual(text.count("frames left out"), 15, "as many members of a group as Python shows")
        self.assertIn(f"{5_003 - failures.FRAMES_MIN} frames left out", text)


    def test_a_group_of_many_members(self) -> None:
        self.loaded(
            """
            looked_at = []
            class Own(ValueError):
                def __str__(self):
                    looked_at.append(self)
                    return super().__str__()
            def f(count):
                raise ExceptionGroup("many", [ExceptionGroup("inner", [Own(n)]) for n in range(count)])
            """
        )
        shown = failures.GROUP_MEMBERS_MAX
        for count in (shown, shown + 1, 2_000):
            text = self.raised(self.runner.call(count), "ExceptionGroup", f"many ({count} sub-exceptions)")
            self.assertEqual(text.count("job.Own: "), shown)
            self.assertIn(f"job.Own: {shown - 1}\n", text)
            self.assertEqual(f"and {count - shown} more exception" in text, count > shown)
            namespace = sys.modules["job"].__dict__
            self.assertEqual(len(namespace["looked_at"]), shown, "only what is shown is looked at")
            namespace["looked_at"].clear()

    def test_causes_of_members_and_of_groups(self) -> None:
        self.loaded(
            """
            def f():
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    try:
                        raise KeyError("of a member") from error
                    except KeyError as member:
                        hidden = OSError("hidden")
                        hidden.__context__ = error
                        hidden.__suppress_context__ = True
                        raise BaseExceptionGroup("group", [member, hidden, member])
            """
        )
        text = self.raised(self.runner.call(), "ExceptionGroup", "group (3 sub-exceptions)")
        self.assertEqual(text.count("KeyError: 'of a member'"), 3, "as context and twice as a member")
        self.assertEqual(text.count("ZeroDivisionError"), 1, "what was told is not told again")
        self.assertEqual(text.count("direct cause"), 1)
        self.assertNotIn("_ppwasm", text)


class Output(RunnerTest):
    def test_a_program_may_do_anything_to_stdout(self) -> None:
        for change in (
            "sys.stdout.close()",
            "sys.stdout = None",
            "del sys.stdout",
            "sys.stdout = 5",
            "sys.stdout = io.StringIO()",
            "sys.stderr = None",
        ):
            with self.subTest(change):
                runner = FreshRunner()
                self.addCleanup(runner.close)
                self.assertFalse(runner.load(f"import sys, io\ndef f():\n    {change}\n    return 1").raised)
                self.assertEqual(runner.call(), Reply(False, 1))
                runner.close()

    def test_a_stdout_of_the_program_s_own_is_flushed(self) -> None:
        self.loaded(
            """
            import io, sys
            raw = io.BytesIO()
            def f(again):
                if again: return raw.getvalue()
                sys.stdout = io.TextIOWrapper(raw, encoding="utf-16-le")
                print("x", end="")
            """
        )
        self.returned(False)
        self.assertEqual(self.returned(True), b"x\x00")

    def test_a_full_stdout_is_told(self) -> None:
        self.loaded(
            """
            import io, sys
            class Full(io.RawIOBase):
                def writable(self): return True
                def write(self, data): raise OSError(28, "No space left on device")
            def f():
                sys.stdout = io.TextIOWrapper(io.BufferedWriter(Full()))
                print("x")
            """
        )
        reply = self.runner.call()
        self.assertEqual(reply.value["type"], "OSError")


class Scripts(RunnerTest):
    def test_a_script_runs_as_main_at_each_call(self) -> None:
        self.loaded(
            """
            import sys
            count = globals().get("count", 0) + 1
            if __name__ == "__main__":
                print(sys.argv, __file__, count, sys.modules["__main__"].count, __builtins__.__name__)
            """,
            None,
        )
        self.assertEqual(self.runner.output(), ("", ""))
        self.assertIsNone(self.returned("a", "b"))
        self.assertIsNone(self.returned())
        self.assertEqual(
            self.runner.output()[0], "['job.py', 'a', 'b'] job.py 1 1 builtins\n['job.py'] job.py 1 1 builtins\n"
        )

    def test_exit_of_a_script(self) -> None:
        self.loaded("import sys\nsys.exit(sys.argv[1] if sys.argv[1:] else 0)", None)
        self.assertEqual(self.runner.call().value["exit_code"], 0)
        self.assertEqual(self.runner.call("no good").value["exit_code"], 1)
        self.assertEqual(self.runner.output()[1], "no good\n")

    def test_exit_functions_run_after_a_script(self) -> None:
        self.loaded("import atexit\natexit.register(print, 'bye')\nprint('hello')", None)
        self.returned()
        self.assertEqual(self.runner.output()[0], "hello\nbye\n")

    def test_a_script_s_traceback(self) -> None:
        self.loaded("def g():\n    raise KeyError('k')\ng()\n", None)
        text = self.raised(self.runner.call(), "KeyError", "'k'")
        self.assertEqual(
            text,
            "Traceback (most recent call last):\n"
            '  File "job.py", line 3, in <module>\n'
            "    g()\n"
            "    ~^^\n"
            '  File "job.py", line 2, in g\n'
            "    raise KeyError('k')\n"
            "KeyError: 'k'\n",
        )

    def test_a_script_may_inspect_and_import_itself(self) -> None:
        self.loaded(
            """\
            import inspect
            def g(): pass
            if __name__ == "__main__":
                import job
                print(inspect.getsource(g), job.__name__)
            """,
            None,
        )
        self.returned()
        self.assertEqual(self.runner.output()[0], "def g(): pass\n job\n")


class Seeds(RunnerTest):
    def setUp(self) -> None:
        super().setUp()
        self.random = sys.modules.pop("random", None)
        self.addCleanup(sys.modules.update, {"random": random})

    def test_generators_of_the_image_are_seeded_at_each_call(self) -> None:
        self.loaded(
            """
            import random
            own = random.Random()
            fixed = random.Random(7)
            def f(): return random.random(), own.random(), fixed.getstate()[1][:3], random.Random(1).random()
            """
        )
        states = [self.returned() for _ in range(2)]
        one, two = states
        self.assertNotEqual(one[0], two[0])  # type: ignore[index]
        self.assertEqual(len({one[0], one[1], two[0], two[1]}), 4)  # type: ignore[index]
        self.assertEqual(one[2:], two[2:])  # type: ignore[index]
        self.assertEqual(one[3], random.Random(1).random())  # type: ignore[index]
        self.assertEqual(len(self.runner.runner._generators), 2)

    def test_the_class_is_python_s_own_after_loading(self) -> None:
        self.loaded("import random\ndef f(): return random.Random.seed.__code__.co_filename")
        self.assertTrue(str(self.returned()).endswith("random.py"))

    def test_a_file_called_random_is_the_program_s(self) -> None:
        self.loaded("import random\ndef f(): return random.MINE", random="MINE = 1")
        self.assertEqual(self.returned(), 1)


class BaseImage(unittest.TestCase):
    def test_nothing_in_it_is_seeded(self) -> None:
        # In an interpreter that has imported nothing else.
        import subprocess

        folder = __file__.rpartition("/")[0] + "/.."
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import _ppwasm; _ppwasm.start()\n"
            "seeded = {'random', 'secrets', 'tempfile', 'statistics'}\n"
            "print(sorted(seeded & sys.modules.keys()), sys.modules['uuid']._node)"
        )
        try:
            result = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True)
        except (OSError, RuntimeError):
            self.skipTest("no processes here")
        self.assertEqual((result.stdout, result.stderr), ("[] None\n", ""))


if __name__ == "__main__":
    unittest.main()
