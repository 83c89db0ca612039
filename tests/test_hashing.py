"""Hashing a password holds a processor for a fifth of a second, and must not hold the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.contrib.auth import aauthenticate, authenticate, get_user_model, hashers
from django.test import override_settings

from onloop import bridge
from tests.loops import until

LONG_S = 90


class Recording(hashers.BasePasswordHasher):
    """A real hasher for Django, that notes the thread it computes in and can be held up."""

    algorithm = "recording"
    threads: list[tuple[str, int]] = []
    may_go_on = threading.Event()
    update = False

    def compute(self, what):
        self.threads.append((what, threading.get_ident()))
        assert self.may_go_on.wait(LONG_S), "the loop was held"

    def encode(self, password, salt):
        self.compute("encode")
        return f"{self.algorithm}${salt}${password}"

    def decode(self, encoded):
        algorithm, salt, hashed = encoded.split("$")
        return {"algorithm": algorithm, "salt": salt, "hash": hashed}

    def verify(self, password, encoded):
        self.compute("verify")
        return encoded.endswith(f"${password}")

    def must_update(self, encoded):
        return self.update

    def harden_runtime(self, password, encoded):
        self.compute("harden_runtime")


HERE = f"{__name__}.{Recording.__qualname__}"
ENCODED = "recording$salt$right"


@pytest.fixture(autouse=True)
def recording():
    Recording.threads.clear()
    Recording.may_go_on.set()
    Recording.update = False
    with override_settings(PASSWORD_HASHERS=[HERE]):
        yield Recording
    Recording.may_go_on.set()


def computed():
    """What was computed, and whether on the thread of the test, which is that of the loop."""
    here = threading.get_ident()
    return [(what, thread == here) for what, thread in Recording.threads]


# --- in a bridge ----------------------------------------------------------------------------


def test_a_password_is_hashed_in_another_thread(runner):
    encoded = runner.run(bridge.run(hashers.make_password, "right", "salt"))
    assert (encoded, computed()) == (ENCODED, [("encode", False)])


@pytest.mark.parametrize(("password", "correct"), [("right", True), ("wrong", False)])
def test_a_password_is_checked_in_another_thread(runner, password, correct):
    checked = runner.run(bridge.run(hashers.check_password, password, ENCODED))
    assert (checked, computed()) == (correct, [("verify", False)])


def test_what_hides_how_long_an_old_hash_takes_runs_in_another_thread(runner, recording):
    recording.update = True
    runner.run(bridge.run(hashers.check_password, "wrong", ENCODED))
    assert computed() == [("verify", False), ("harden_runtime", False)]


def test_a_hasher_that_is_handed_over_runs_in_another_thread(runner):
    def function():
        hasher = hashers.get_hasher()
        return hashers.make_password("right", "salt", hasher)

    runner.run(bridge.run(function))
    assert computed() == [("encode", False)]


def test_a_hasher_that_is_handed_over_is_taken_as_it_is(runner):
    def function():
        hasher = hashers.get_hasher()
        return hashers.get_hasher(hasher) is hasher

    assert runner.run(bridge.run(function))


@pytest.mark.parametrize(
    "hashing",
    [
        lambda: hashers.make_password("right"),
        lambda: hashers.check_password("right", ENCODED),
    ],
    ids=["make_password", "check_password"],
)
def test_the_loop_goes_on_meanwhile(runner, recording, hashing):
    async def main():
        recording.may_go_on.clear()
        task = asyncio.create_task(bridge.run(hashing))
        await until(lambda: recording.threads)
        recording.may_go_on.set()
        await task

    runner.run(main())


def test_the_async_check_in_a_bridge_runs_in_another_thread(runner):
    async def view():
        return await hashers.acheck_password("right", ENCODED)

    assert runner.run(bridge.run(bridge.await_, view()))
    assert computed() == [("verify", False)]


def test_what_costs_nothing_is_asked_directly(runner):
    def function():
        hasher = hashers.get_hasher()
        return hasher.algorithm, hasher.decode(ENCODED)["hash"], hasher.must_update(ENCODED)

    assert runner.run(bridge.run(function)) == ("recording", "right", False)
    assert computed() == []


def test_in_a_bridge_the_hasher_is_djangos_own(runner):
    """Callers set attributes of it; its methods change those of its class."""

    def function():
        hasher = hashers.get_hasher()
        hasher.salt_entropy = 64
        return type(hasher) is Recording and hashers.get_hashers()[0] is hasher

    assert runner.run(bridge.run(function))
    assert hashers.get_hasher().salt_entropy == 64


def test_a_method_that_is_put_into_the_class_of_a_hasher_is_used(runner, monkeypatch):
    runner.run(bridge.run(hashers.get_hasher))
    monkeypatch.setattr(Recording, "encode", lambda self, password, salt: "another")
    assert runner.run(bridge.run(hashers.make_password, "right", "salt")) == "another"


# --- in a plain thread ----------------------------------------------------------------------


def test_in_a_plain_thread_a_password_is_hashed_right_there():
    assert hashers.make_password("right", "salt") == ENCODED
    assert computed() == [("encode", True)]


def test_in_a_plain_thread_a_password_is_checked_right_there():
    assert hashers.check_password("right", ENCODED)
    assert computed() == [("verify", True)]


def test_in_a_plain_thread_the_hasher_is_djangos():
    assert type(hashers.get_hasher()) is Recording


def test_a_hasher_from_a_bridge_computes_right_there_in_a_plain_thread(runner):
    hasher = runner.run(bridge.run(hashers.get_hasher))
    hasher.encode("right", "salt")
    assert computed() == [("encode", True)]


# --- signing in -----------------------------------------------------------------------------


@pytest.fixture
def user(db_clean):
    return get_user_model().objects.create(username="ursula", password=ENCODED)


async def test_signing_in_in_a_bridge_checks_in_another_thread(user):
    found = await bridge.run(authenticate, username="ursula", password="right")
    assert (found, computed()) == (user, [("verify", False)])


async def test_signing_in_asynchronously_in_a_bridge_checks_in_another_thread(user):
    signing_in = aauthenticate(username="ursula", password="right")
    assert await bridge.run(bridge.await_, signing_in) == user
    assert computed() == [("verify", False)]


async def test_a_user_who_does_not_exist_costs_the_same_in_another_thread(db_clean):
    found = await bridge.run(authenticate, username="nobody", password="right")
    assert (found, computed()) == (None, [("encode", False)])


def test_signing_in_in_a_plain_thread_checks_right_there(user):
    assert authenticate(username="ursula", password="right") == user
    assert computed() == [("verify", True)]
