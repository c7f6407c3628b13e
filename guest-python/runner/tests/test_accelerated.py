"""The C module that encodes and decodes values, against the reference in Python. Runs in the guest only, which has it."""

from __future__ import annotations

import io
import json
import math
import random
import unittest
from typing import Any

import golden_classes
from golden_names import nested_lists
from test_values import CLASSES, FOLDER, random_value

from _ppwasm import values
from _ppwasm.values import NESTING_MAX, CannotTravel, MalformedValue, decode, encode


class Accelerated(unittest.TestCase):
    """The C module against the reference."""

    def test_it_is_there(self) -> None:
        self.assertTrue(values.IS_ACCELERATED)

    def test_same_bytes_or_same_refusal(self) -> None:
        choose = random.Random(3)
        for _ in range(500):
            value = random_value(choose, 4)
            self.assertEqual(encode(value, CLASSES), values.reference_encode(value, CLASSES))
        too_deep = nested_lists(NESTING_MAX + 1)
        itself: list[Any] = []
        itself.append((1, {"a": itself}))
        for value in (
            [1, {"a": (2, len)}],
            {(1, len): 2},
            {"k": [io.StringIO()]},
            too_deep,
            itself,
            {math.nan: 1, -math.nan: {}},
        ):
            with self.assertRaises(CannotTravel) as fast:
                encode([value, len], CLASSES)
            with self.assertRaises(CannotTravel) as reference:
                values.reference_encode([value, len], CLASSES)
            self.assertEqual(str(fast.exception), str(reference.exception))

    def test_same_value_or_same_fault(self) -> None:
        choose = random.Random(4)
        for _ in range(1000):
            data = bytearray(encode(random_value(choose, 3), CLASSES))
            for _ in range(choose.randrange(3)):
                data[choose.randrange(len(data))] = choose.randrange(256)
            self.assert_same(bytes(data))
        for _ in range(1000):
            self.assert_same(choose.randbytes(choose.randrange(12)))

    def test_same_faults_of_malformed_input(self) -> None:
        for row in json.loads((FOLDER / "golden_malformed.json").read_text()):
            self.assert_same(bytes.fromhex(row["hex"]))

    def assert_same(self, data: bytes) -> None:
        outcomes: list[Any] = []
        for read in (decode, values.reference_decode):
            try:
                outcomes.append(values.reference_encode(read(data, CLASSES), CLASSES))
            except MalformedValue as fault:
                outcomes.append(str(fault))
        self.assertEqual(outcomes[0], outcomes[1], data.hex())

    def test_a_message_s_own_levels_do_not_count(self) -> None:
        message = values.reference_encode([[], {}]).replace(b"\x80", b"\x81" + encode(nested_lists(NESTING_MAX)))
        decode(message, CLASSES, -2)
        with self.assertRaises(MalformedValue):
            decode(message, CLASSES, -1)

    def test_a_container_that_changes_meanwhile(self) -> None:
        class Changing(golden_classes.Plain):
            """Changes the list that it is in when it is looked at."""

            @property
            def __dict__(self) -> Any:  # type: ignore[override]
                container.clear()
                return {}

        Changing.__module__, Changing.__qualname__ = "golden_classes", "Changing"
        golden_classes.Changing = Changing  # type: ignore[attr-defined]
        self.addCleanup(delattr, golden_classes, "Changing")
        container: Any
        for container in ([object.__new__(Changing), 1], {"a": object.__new__(Changing), "b": 1}):
            with self.assertRaisesRegex(RuntimeError, "changed size while it was encoded"):
                encode(container, CLASSES)
