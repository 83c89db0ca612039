"""Forced windows: bridges, coroutines and threads are held where a test says."""

import asyncio
import threading

import pytest

from onloop import bridge
from onloop.testing import ForcedWindow, WindowError
from tests.testing import places

HERE = "tests.testing.places"


@pytest.fixture(autouse=True)
def _no_calls():
    places.calls.clear()


# --- who is held ------------------------------------------------------------------------------


async def test_a_bridge_is_held_before_a_function_and_the_loop_goes_on(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True) as window:
        task = asyncio.create_task(bridge.run(places.plain, "a"), name="held")
        arrival = await window.reached()
        assert (arrival.who, arrival.args) == ("held", ("a",))
        assert places.calls == []
        window.release()
        assert await task == "a"


async def test_a_bridge_is_held_after_a_function(forced_window):
    async with forced_window.at(f"{HERE}.plain", after=True) as window:
        task = asyncio.create_task(bridge.run(places.plain, "a"))
        await window.reached()
        assert places.calls == ["a"]
        assert not task.done()
        window.release()
        assert await task == "a"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_coroutine_is_held(forced_window, when):
    async with forced_window.at(f"{HERE}.coroutine", **{when: True}) as window:
        task = asyncio.create_task(places.coroutine("a"))
        await window.reached()
        assert places.calls == ([] if when == "before" else ["a"])
        window.release()
        assert await task == "a"


def test_a_thread_is_held(forced_window):
    with forced_window.at(f"{HERE}.plain", before=True) as window:
        thread = threading.Thread(target=places.plain, args=["a"], name="held thread")
        thread.start()
        assert window.wait_reached().who == "held thread"
        assert places.calls == []
        window.release()
        thread.join()
    assert places.calls == ["a"]


async def test_a_thread_is_held_while_a_task_waits_for_it_to_arrive(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True) as window:
        work = asyncio.create_task(asyncio.to_thread(places.plain, "a"))
        await window.reached()
        window.release()
        assert await work == "a"


@pytest.mark.parametrize("name", ["method", "inherited", "static", "of_class"])
async def test_methods_of_every_kind_are_held_and_put_back(forced_window, name):
    before = dict(vars(places.Place))
    async with forced_window.at(f"{HERE}.Place.{name}", before=True) as window:
        task = asyncio.create_task(bridge.run(getattr(places.Place(), name), "a"))
        await window.reached()
        window.release()
        assert await task in ("a", "Place a")
    assert dict(vars(places.Place)) == before


async def test_the_method_of_one_object_is_held_and_that_of_others_is_not(forced_window):
    mine, other = places.Place(), places.Place()
    async with forced_window.at((mine, "acoroutine"), before=True) as window:
        assert await other.acoroutine("passes") == "passes"
        task = asyncio.create_task(mine.acoroutine("is held"))
        await window.reached()
        window.release()
        assert await task == "is held"
    assert "acoroutine" not in vars(mine)


async def test_calls_can_be_chosen_by_their_arguments(forced_window):
    async with forced_window.at(
        f"{HERE}.plain", before=True, only=lambda what: what == "b"
    ) as window:
        assert await bridge.run(places.plain, "a") == "a"
        task = asyncio.create_task(bridge.run(places.plain, "b"))
        assert (await window.reached()).args == ("b",)
        window.release()
        await task


async def test_all_who_arrive_are_held_until_the_release_and_nobody_after_it(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True) as window:
        tasks = [asyncio.create_task(bridge.run(places.plain, str(n))) for n in range(3)]
        while len(window.arrivals) < 3:
            await asyncio.sleep(0)
        assert places.calls == []
        window.release()
        assert await asyncio.gather(*tasks) == ["0", "1", "2"]
        assert await bridge.run(places.plain, "late") == "late"


# --- cancelling who is held -------------------------------------------------------------------


async def test_a_held_coroutine_can_be_cancelled_there(forced_window):
    async with forced_window.at(f"{HERE}.coroutine", before=True) as window:
        task = asyncio.create_task(places.coroutine("a"))
        await window.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert places.calls == []


async def test_a_cancel_of_held_synchronous_code_arrives_at_its_next_wait(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True) as window:
        task = asyncio.create_task(bridge.run(places.waiting, "a"))
        await window.reached()
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        window.release()
        with pytest.raises(asyncio.CancelledError):
            await task
    # The function itself does not wait, so nothing could have been cancelled in it.
    assert places.calls == ["a"]
    assert task.cancelling() == 1


async def test_held_synchronous_code_can_be_made_cancellable(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True, cancellable=True) as window:
        task = asyncio.create_task(bridge.run(places.plain, "a"))
        await window.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert places.calls == []


# --- mistakes ---------------------------------------------------------------------------------


async def test_a_window_that_nobody_reaches_says_so(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True, timeout_s=0.05) as window:
        with pytest.raises(WindowError, match=r"before 'tests.testing.places.plain' was not"):
            await window.reached()


async def test_a_call_that_cannot_be_held_passes_and_is_named(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True, timeout_s=0.05) as window:
        assert places.plain("outside a bridge") == "outside a bridge"
        with pytest.raises(WindowError, match="1 calls came from a loop's thread outside"):
            await window.reached()


async def test_who_is_never_released_is_not_held_for_ever(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True, timeout_s=0.05):
        with pytest.raises(WindowError, match=r"was not released within 0\.05 s"):
            await bridge.run(places.plain, "a")


async def test_leaving_the_block_releases(forced_window):
    async with forced_window.at(f"{HERE}.plain", before=True) as window:
        task = asyncio.create_task(bridge.run(places.plain, "a"))
        await window.reached()
    assert await task == "a"


def test_a_window_left_open_is_closed_with_the_fixture():
    windows = ForcedWindow()
    original = places.plain
    windows.at(f"{HERE}.plain", before=True).__enter__()
    assert places.plain is not original
    windows.close()
    assert places.plain is original


def test_a_path_that_leads_nowhere_is_refused(forced_window):
    with pytest.raises(ValueError, match="no module"), forced_window.at("nowhere.at.all"):
        pass
    with pytest.raises(AttributeError), forced_window.at(f"{HERE}.nothing"):
        pass


def test_a_window_is_before_or_after(forced_window):
    with pytest.raises(ValueError, match="use two"):
        forced_window.at(f"{HERE}.plain", before=True, after=True)
