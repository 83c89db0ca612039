"""Many requests in parallel, bounded, with one deadline over all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import httpx

from onloop.http.clients import client
from onloop.http.errors import DeadlineExceeded
from onloop.waiting import settled

T = TypeVar("T")
D = TypeVar("D")

Target = str | httpx.URL | httpx.Request
Asked = Target | Callable[[], Awaitable[Any]]

_NONE: Any = object()


@dataclass(frozen=True)
class Result(Generic[T]):
    """What became of one of the requests of a `fan_out`.

    `error`: what went wrong, or None. `took_s`: seconds that it took; 0 if it was not begun.
    """

    error: Exception | None = None
    took_s: float = 0.0
    _value: T = _NONE

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def value(self) -> T:
        """The value. Raises `error` where there is none."""
        if self.error is not None:
            raise self.error
        return self._value

    def value_or(self, default: D) -> T | D:
        """Return the value, or `default` where there is none."""
        return self._value if self.error is None else default


@overload
async def fan_out(
    requests: Iterable[Target], *, deadline: float | None = None, at_once: int = 10
) -> list[Result[httpx.Response]]: ...


@overload
async def fan_out(
    requests: Iterable[Callable[[], Awaitable[T]]],
    *,
    deadline: float | None = None,
    at_once: int = 10,
) -> list[Result[T]]: ...


@overload
async def fan_out(
    requests: Iterable[Asked], *, deadline: float | None = None, at_once: int = 10
) -> list[Result[Any]]: ...


async def fan_out(
    requests: Iterable[Asked], *, deadline: float | None = None, at_once: int = 10
) -> list[Result[Any]]:
    """Run `requests` in parallel and return what became of each, in the order asked.

    Each is an address or an `httpx.Request`, sent by `client()`, whose value is the response,
    read whole, and a status other than 2xx is an error; or a function without arguments that
    returns an awaitable, such as `lambda: price_of(book)` or an `async def`.

    `deadline`: seconds for all of them; what has not ended then is cancelled and gets
    `DeadlineExceeded`, and the others are kept. `at_once`: how many run at once.

    If the caller is cancelled, all are, and have ended when `CancelledError` is raised.
    """
    if isinstance(requests, str):
        raise TypeError("fan_out takes a list of addresses. For one of them write `[url]`.")
    if at_once < 1 or (deadline is not None and deadline <= 0):
        raise ValueError(
            "fan_out: `at_once` is 1 or more, `deadline` None or a number of seconds above 0."
        )
    return await _FanOut([_step(each) for each in requests], deadline).run(at_once)


class _FanOut:
    def __init__(
        self, steps: list[Callable[[], Awaitable[Any]]], deadline: float | None
    ) -> None:
        self._steps = steps
        self._deadline = deadline
        self._began = time.monotonic()
        self._over = False
        self._results: list[Result[Any] | None] = [None] * len(steps)

    async def run(self, at_once: int) -> list[Result[Any]]:
        if not self._steps:
            return []
        loop = asyncio.get_running_loop()
        turns = iter(range(len(self._steps)))
        workers = [
            loop.create_task(self._work(turns)) for _ in range(min(at_once, len(self._steps)))
        ]
        try:
            # A worker ends before its time by what no result may hold, such as `SystemExit`.
            await asyncio.wait(
                workers, timeout=self._deadline, return_when=asyncio.FIRST_EXCEPTION
            )
        finally:
            self._over = True
            await _end(workers)
        for worker in workers:
            if not worker.cancelled():
                worker.result()
        return [result or self._late(number) for number, result in enumerate(self._results)]

    async def _work(self, turns: Iterator[int]) -> None:
        for number in turns:
            if self._over:
                return
            self._results[number] = await self._attempt(number)

    async def _attempt(self, number: int) -> Result[Any]:
        began = time.monotonic()
        try:
            value = await self._steps[number]()
        except asyncio.CancelledError:
            took_s = time.monotonic() - began
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._results[number] = self._late(number, took_s)
                raise
            return Result(RuntimeError("It was cancelled by something of its own."), took_s)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the result
            return Result(exc, time.monotonic() - began)
        return Result(None, time.monotonic() - began, value)

    def _late(self, number: int, took_s: float | None = None) -> Result[Any]:
        how = "was not begun" if took_s is None else f"had {took_s:.1f} s, and did not end"
        return Result(
            DeadlineExceeded(
                f"Request {number + 1} of {len(self._steps)} {how} within the "
                f"{self._deadline or 0:g} s of fan_out."
            ),
            took_s or 0.0,
        )


async def _end(workers: list[asyncio.Task[None]]) -> None:
    """Cancel what still runs, and wait for it whatever cancellations come meanwhile."""
    for worker in workers:
        worker.cancel()
    await settled(workers)


def _step(asked: Asked) -> Callable[[], Awaitable[Any]]:
    if isinstance(asked, str | httpx.URL | httpx.Request):
        return lambda: _send(asked)
    if callable(asked):
        return asked
    raise TypeError(
        f"fan_out takes addresses, httpx.Requests and functions that return an awaitable; "
        f"{asked!r} is none of these. Write `lambda: ...` in front of a coroutine."
    )


async def _send(target: Target) -> httpx.Response:
    if isinstance(target, httpx.Request):
        response = await client().send(target)
    else:
        response = await client().get(target)
    return response.raise_for_status()
