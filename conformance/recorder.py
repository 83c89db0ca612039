"""What became of each test, written down as it happens.

One line of JSON an event: `["start", id]`, `["end", id, outcome, detail]`. Who reads it knows
what a process was doing that hung or died.
"""

from __future__ import annotations

import json
import os
import traceback
import unittest
from typing import Any

from django.test.runner import DiscoverRunner

PASSED, EXPECTED_FAILURE, SKIPPED = "passed", "expected failure", "skipped"
UNEXPECTED_SUCCESS, FAILED, ERROR = "unexpected success", "failed", "error"
# Of several outcomes of one test (subtests, `tearDown`) the last of these counts.
_BY_WEIGHT = [PASSED, EXPECTED_FAILURE, SKIPPED, UNEXPECTED_SUCCESS, FAILED, ERROR]

# Of a traceback, the last ones.
MOST_CHARACTERS = 6000


class Events:
    """Writes to the file that `CONFORMANCE_EVENTS` names."""

    def __init__(self) -> None:
        # Not through `open`, which tests replace.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(os.environ["CONFORMANCE_EVENTS"], flags, 0o644)
        self._outcome: tuple[str, str] = PASSED, ""
        self._running = False

    def _write(self, *event: str) -> None:
        os.write(self._file, json.dumps(event).encode() + b"\n")

    def start(self, test: str) -> None:
        self._running = True
        self._outcome = PASSED, ""
        self._write("start", test)

    def note(self, test: str, outcome: str, detail: str = "") -> None:
        if not self._running:  # a class or a module, as a whole
            self._write("end", test, outcome, detail[-MOST_CHARACTERS:])
        elif _BY_WEIGHT.index(outcome) > _BY_WEIGHT.index(self._outcome[0]):
            self._outcome = outcome, detail[-MOST_CHARACTERS:]

    def end(self, test: str) -> None:
        self._write("end", test, *self._outcome)
        self._running = False


class RecordingResult(unittest.TextTestResult):
    """Tells `Events` of unittest's tests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._events = Events()

    def _note(self, test: Any, outcome: str, detail: str = "") -> None:
        self._events.note(test.id(), outcome, detail)

    def startTest(self, test: Any) -> None:
        self._events.start(test.id())
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        self._events.end(test.id())

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, FAILED, _text(err))

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._note(test, ERROR, _text(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            self._note(test, FAILED if failed else ERROR, f"{subtest}\n{_text(err)}")

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, SKIPPED, reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._note(test, EXPECTED_FAILURE)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self._note(test, UNEXPECTED_SUCCESS)


def _text(err: Any) -> str:
    return "".join(traceback.format_exception(*err))


class RecordingRunner(DiscoverRunner):
    """Django's test runner, less the tests that `CONFORMANCE_LEAVE_OUT` names."""

    def get_resultclass(self) -> Any:
        return RecordingResult

    def build_suite(self, *args: Any, **kwargs: Any) -> Any:
        suite = super().build_suite(*args, **kwargs)
        left_out = set(json.loads(os.environ.get("CONFORMANCE_LEAVE_OUT", "[]")))
        if left_out:
            suite._tests = [test for test in suite if test.id() not in left_out]
        return suite
