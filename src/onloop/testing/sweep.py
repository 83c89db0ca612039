"""Cancel a coroutine at each of its waits, and look at what is left.

A wait is a step of the task that ends with a future (or nothing) handed to the event loop, so
that bridges, futures and bare coroutines count alike. To choose the wait in place of racing
against the network is the idea of SQLAlchemy's `testing/cancellation.py`; where a test needs
to know what happens while *another* task runs, see `onloop.testing.windows`.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onloop.testing.stacks import Stack

Moment = Literal["waiting", "answered"]
Check = Callable[["Outcome"], Awaitable[object] | object]

# Seconds that a run which hangs has to end, once it has been cancelled for that.
_GIVE_UP_S = 2.0


class SweepFailed(AssertionError):
    """A run of the scenario did what a cancelled task must not do."""


class CancelSwallowed(SweepFailed):
    """A task that was cancelled ended as if it had not been."""


class CancelUnbalanced(SweepFailed):
    """`task.cancelling()` does not count what was asked of the task."""


class Hung(SweepFailed):
    """A run did not end within its time-out."""


@dataclass
class Outcome:
    """What one run of the scenario came to.

    `n`: the wait at which it was cancelled, counted from 0; in the run that is not cancelled,
    the number of its waits. `cancelled`: how often a cancellation was delivered. `moment`:
    "waiting" if the cancel came as the wait began, "answered" if it came when what was waited
    for was there, but the task had not been told yet. `where`: the stack at that wait.
    """

    n: int
    moment: Moment
    cancelled: int = 0
    result: Any = None
    exception: BaseException | None = None
    where: Stack = field(default_factory=lambda: Stack(()))
    waits: int = 0

    @property
    def finished(self) -> bool:
        """Whether the scenario returned."""
        return self.exception is None

    def __str__(self) -> str:
        if not self.cancelled:
            return "not cancelled"
        often = "" if self.cancelled == 1 else f", {self.cancelled} times"
        return f"cancelled at wait {self.n} ({self.moment}{often}): {self.where.innermost}"


@dataclass
class Sweep:
    """The report: how many waits the scenario has, and what came of each run."""

    waits: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return len(self.outcomes)

    def __str__(self) -> str:
        twice = sum(outcome.cancelled > 1 for outcome in self.outcomes)
        return f"{self.waits} waits, {self.runs} runs, {twice} of them cancelled twice"


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that counts its waits, and has its task cancelled at some of them.

    Driven by a task in place of the coroutine that it wraps.
    """

    def __init__(
        self, coro: Coroutine[Any, Any, Any], at: int | None, times: int, moment: Moment
    ) -> None:
        self.wrapped_coroutine = coro
        self.waits = 0
        self.cancelled = 0
        self.where = Stack(())
        self._at = at
        self._times = times
        self._moment = moment
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        return self._waiting(self.wrapped_coroutine.send(value))

    def throw(self, *exc: Any) -> Any:
        return self._waiting(self.wrapped_coroutine.throw(*exc))

    def close(self) -> None:
        self.wrapped_coroutine.close()

    def __await__(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("cr_"):  # what `Task.get_stack()` asks for
            return getattr(self.wrapped_coroutine, name)
        raise AttributeError(name)

    def _waiting(self, yielded: Any) -> Any:
        n, self.waits = self.waits, self.waits + 1
        # The second cancel comes at the very next wait after the first.
        if (
            self._at is not None
            and self._at + self.cancelled == n
            and (self.cancelled < self._times)
        ):
            if not self.cancelled:
                self.where = Stack.of(self.wrapped_coroutine)
            self.cancelled += 1
            self._cancel(yielded, self.cancelled == 1 and self._moment == "answered")
        return yielded

    def _cancel(self, yielded: Any, when_answered: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        if when_answered and hasattr(yielded, "add_done_callback"):
            # Called before the task's own wake-up, which is added after this step: the task
            # then finds its answer there and is told of the cancellation all the same.
            yielded.add_done_callback(lambda _: task.cancel())
        else:
            # The task is in its step: the future that it hands over is cancelled at once.
            task.cancel()


async def cancel_sweep(
    scenario: Callable[[], Coroutine[Any, Any, Any]],
    *,
    check: Check | None = None,
    prepare: Callable[[], Awaitable[object] | object] | None = None,
    times: Sequence[int] = (1, 2),
    moments: Sequence[Moment] = ("waiting", "answered"),
    limit: int = 1000,
    timeout_s: float = 10.0,
    may_finish: bool | Callable[[Outcome], bool] = False,
    may_raise: tuple[type[BaseException], ...] = (),
) -> Sweep:
    """Run `scenario()` again and again, each time cancelled at another of its waits.

    The first run is not cancelled and must succeed. Then, for n = 0, 1, 2, ..., runs are
    cancelled at their n-th wait, until one ends without reaching it: with each of `times`
    (2: once more at the very next wait after the first cancel), and at each of `moments`.
    Every run is a task of its own. `prepare()` is called before each and `check(outcome)`
    after it; both may be `async def`. What `check` raises says in a note which run it was.

    `may_finish`: a cancelled run may return a result after all (or a function that says so
    for an outcome). `may_raise`: exceptions that a cancelled run may end with in place of
    `asyncio.CancelledError`. `timeout_s`: seconds after which a run hangs.

    Raises `CancelSwallowed`, `CancelUnbalanced` or `Hung`, with the stack of the wait;
    `SweepFailed` if the scenario has more than `limit` waits; and what `check` raises.
    """
    report = Sweep()
    if not times or min(times) < 1 or max(times) > 2 or not moments:
        raise ValueError("cancel_sweep: `times` holds 1, 2 or both; `moments` is not empty")

    async def run(n: int | None, often: int, moment: Moment) -> Outcome:
        if prepare is not None:
            await _call(prepare)
        outcome = await _run(scenario, n, often, moment, timeout_s)
        report.outcomes.append(outcome)
        _judge(outcome, may_finish, may_raise)
        _forget_locals(outcome.exception)
        if check is not None:
            try:
                await _call(check, outcome)
            except Exception as exc:
                exc.add_note(f"Found after the scenario was {_described(outcome)}")
                raise
        return outcome

    report.waits = (await run(None, 1, "waiting")).waits
    for n in range(limit):
        reached = False
        for moment in moments:
            for often in times:
                outcome = await run(n, often, moment)
                reached = reached or outcome.cancelled > 0
        if not reached:
            return report
        report.waits = max(report.waits, n + 1)
    raise SweepFailed(f"The scenario has more than {limit} waits; raise `limit`.")


async def _call(function: Callable[..., Any], *args: Any) -> None:
    result = function(*args)
    if inspect.isawaitable(result):
        await result


async def _run(
    scenario: Callable[[], Coroutine[Any, Any, Any]],
    n: int | None,
    often: int,
    moment: Moment,
    timeout_s: float,
) -> Outcome:
    counted = _Counted(scenario(), n, often, moment)
    task = asyncio.get_running_loop().create_task(counted)
    outcome = Outcome(0 if n is None else n, moment)
    try:
        _, pending = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        task.cancel()  # the sweep itself is cancelled
        raise
    outcome.cancelled = counted.cancelled
    outcome.where = counted.where
    outcome.waits = counted.waits
    if n is None:
        outcome.n = counted.waits
    if pending:
        stuck = Stack.of(task)
        await _give_up(task)
        raise Hung(
            f"The scenario, {outcome}, did not end within {timeout_s:g} s. It hangs here:\n"
            f"{stuck}{_stack(outcome)}"
        )
    if task.cancelled():
        try:
            task.result()
        except asyncio.CancelledError as exc:
            outcome.exception = exc
    else:
        outcome.exception = task.exception()
    if outcome.exception is None:
        outcome.result = task.result()
    _check_balance(task, outcome)
    return outcome


async def _give_up(task: asyncio.Task[Any]) -> None:
    for _ in range(3):
        task.cancel()
        if (await asyncio.wait({task}, timeout=_GIVE_UP_S / 3))[0]:
            if not task.cancelled():
                task.exception()  # retrieved: the hang is what is reported
            return


def _check_balance(task: asyncio.Task[Any], outcome: Outcome) -> None:
    asked, counted = outcome.cancelled, task.cancelling()
    if counted == asked:
        return
    if outcome.finished and counted < asked:
        return  # it took the cancellation on itself with `uncancel()`; `_judge` has its say
    raise CancelUnbalanced(
        f"The scenario, {outcome}, left task.cancelling() at {counted} where {asked} was asked "
        "for: something in it called cancel() or uncancel() without its counterpart."
        f"{_stack(outcome)}"
    )


def _judge(
    outcome: Outcome,
    may_finish: bool | Callable[[Outcome], bool],
    may_raise: tuple[type[BaseException], ...],
) -> None:
    exc = outcome.exception
    if not outcome.cancelled:
        if exc is not None:
            exc.add_note("The scenario failed without having been cancelled.")
            raise exc
        return
    if exc is None:
        if may_finish(outcome) if callable(may_finish) else may_finish:
            return
        raise CancelSwallowed(
            f"The scenario, {outcome}, returned {outcome.result!r}: the CancelledError was "
            f"swallowed.{_stack(outcome)}"
        )
    if not isinstance(exc, (asyncio.CancelledError, *may_raise)):
        raise CancelSwallowed(
            f"The scenario, {outcome}, raised {exc!r} in place of the CancelledError."
            f"{_stack(outcome)}"
        ) from exc


def _forget_locals(exc: BaseException | None) -> None:
    """Let go of what the frames of an exception hold: cursors and connections, above all."""
    while exc is not None:
        traceback.clear_frames(exc.__traceback__)
        exc = exc.__cause__ or exc.__context__


def _described(outcome: Outcome) -> str:
    return f"{outcome}{_stack(outcome)}"


def _stack(outcome: Outcome) -> str:
    return f"\nThe cancelled wait:\n{outcome.where}" if outcome.cancelled else ""
