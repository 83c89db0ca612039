"""Many requests in parallel, and what becomes of each."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from onloop import http
from onloop.http import Result, fan_out
from tests.db.eventually import eventually
from tests.http.conftest import with_deadlines

pytestmark = pytest.mark.usefixtures("closing", "configure")


async def test_ten_are_under_way_at_once(upstream):
    asked = asyncio.create_task(fan_out([f"{upstream.url}/hold"] * 10))
    await eventually(lambda: upstream.under_way == 10)
    upstream.release()
    results = await asked
    assert [result.value.text for result in results] == ["held"] * 10


async def test_no_more_than_asked_for_are(upstream):
    asked = asyncio.create_task(fan_out([f"{upstream.url}/hold"] * 10, at_once=3))
    await eventually(lambda: upstream.under_way == 3)
    upstream.release()
    assert all(result.ok for result in await asked)
    assert upstream.most_at_once == 3


async def test_results_come_in_the_order_asked_and_errors_say_what_happened(
    upstream, configure
):
    configure(RETRIES=0)
    ok, missing, broken, mine, failing = await fan_out(
        [
            f"{upstream.url}/ok",
            httpx.URL(f"{upstream.url}/status/404"),
            httpx.Request("POST", f"{upstream.url}/drop"),
            lambda: asyncio.sleep(0, "mine"),
            fails,
        ]
    )
    assert (ok.ok, ok.value.text, ok.error) == (True, "ok", None)
    assert isinstance(missing.error, httpx.HTTPStatusError)
    assert missing.error.response.text == "as asked"
    assert isinstance(broken.error, httpx.RemoteProtocolError)
    assert mine.value == "mine"
    assert not failing.ok
    with pytest.raises(ZeroDivisionError):
        failing.value  # noqa: B018
    assert failing.value_or(5) == 5
    assert mine.value_or(5) == "mine"


async def fails():
    raise ZeroDivisionError


async def test_what_has_not_ended_at_the_deadline_is_late_and_the_rest_is_kept(upstream):
    urls = [f"{upstream.url}/ok", f"{upstream.url}/hang", fails, f"{upstream.url}/ok"]
    results = await with_deadlines(
        lambda deadline_s: fan_out(urls, deadline=deadline_s, at_once=2),
        lambda results: results[3].ok,
    )
    assert [result.ok for result in results] == [True, False, False, True]
    assert isinstance(results[1].error, http.DeadlineExceeded)
    assert "Request 2 of 4 had" in str(results[1].error)
    assert isinstance(results[2].error, ZeroDivisionError)
    await eventually(lambda: upstream.under_way == 0)


async def test_what_was_not_begun_says_so():
    begun = []

    async def hangs():
        begun.append(1)
        await asyncio.Event().wait()

    first, second = await fan_out([hangs] * 2, deadline=0.1, at_once=1)
    assert re.search(r"had \d+\.\d s, and did not end within the 0\.1 s", str(first.error))
    assert "Request 2 of 2 was not begun within" in str(second.error)
    assert second.took_s == 0
    assert begun == [1]


async def test_one_that_holds_back_its_end_is_kept_and_no_other_is_begun():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            return "done all the same"

    first, second = await fan_out([stubborn, stubborn], deadline=0.05, at_once=1)
    assert first.value == "done all the same"
    assert "was not begun" in str(second.error)


async def test_one_that_is_cancelled_by_something_of_its_own_is_an_error():
    async def cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    first, second = await fan_out([cancelled, lambda: asyncio.sleep(0, 1)])
    assert "cancelled by something of its own" in str(first.error)
    assert second.value == 1


async def test_what_no_result_may_hold_ends_all_of_them():
    ended = []

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    async def leaves():
        raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await fan_out([waits, waits, leaves])
    assert ended == [1, 1]


async def test_cancelled_all_have_ended_whatever_comes_twice():
    ended = []

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append(1)

    before = asyncio.all_tasks()
    task = asyncio.create_task(fan_out([waits] * 5))
    await eventually(lambda: len(asyncio.all_tasks()) == len(before) + 6)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1] * 5
    assert asyncio.all_tasks() == before


async def test_nothing_asked_is_nothing_returned():
    assert await fan_out([]) == []


@pytest.mark.parametrize("arguments", [{"at_once": 0}, {"deadline": 0}, {"deadline": -1}])
async def test_bounds_that_let_nothing_go_are_refused(arguments):
    with pytest.raises(ValueError, match="1 or more"):
        await fan_out(["http://localhost/"], **arguments)


async def test_a_coroutine_is_refused_with_the_cure():
    coroutine = fails()
    with pytest.raises(TypeError, match=r"Write `lambda: \.\.\.` in front"):
        await fan_out([coroutine])
    coroutine.close()


async def test_one_address_is_no_list_of_them():
    with pytest.raises(TypeError, match=r"`\[url\]`"):
        await fan_out("http://localhost/")


def test_a_result_shows_what_it_is():
    assert Result(None, 0.0, 5) == Result(None, 0.0, 5)
    assert "ZeroDivisionError" in repr(Result(ZeroDivisionError()))
