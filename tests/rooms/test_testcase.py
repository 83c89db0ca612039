"""In a user's `TestCase` sockets hear what is sent in its transaction; then it is undone."""

from __future__ import annotations

import pytest
from channels.testing import WebsocketCommunicator
from django.db import transaction

from onloop import rooms
from onloop.rooms.models import Message, Presence, Room
from tests.channels.conftest import DEADLINE_S
from tests.db.test_testcase import assert_passes, case
from tests.rooms.conftest import IN_MEMORY, LONG

pytestmark = pytest.mark.usefixtures("db_clean")


async def open_(who):
    from tests.rooms.visitors import Visitor, application

    socket = WebsocketCommunicator(application(), f"/rooms/lobby/?who={who}")
    assert (await socket.connect(timeout=DEADLINE_S))[0]
    visitor = Visitor(socket)
    await visitor.next_of("history")
    return visitor


def test_sockets_hear_what_a_test_sends(set_up):
    set_up(IN_MEMORY, LONG)

    def of_the_class(cls):
        rooms.send("lobby", "of the class")

    async def test(self):
        ada, bob = await open_("ada"), await open_("bob")
        assert ada.seen() == [1]
        await rooms.asend("lobby", "of the test")
        assert await ada.post("of a socket") == 3
        with self.captureOnCommitCallbacks(execute=True):
            async with transaction.atomic():
                await rooms.asend("lobby", "of a block")
        assert await bob.numbers(4) == [1, 2, 3, 4]
        assert await ada.numbers(4) == [1, 2, 3, 4]
        assert await rooms.apresent("lobby") == ["ada", "bob"]
        for visitor in (ada, bob):
            await visitor.socket.disconnect(timeout=DEADLINE_S)
        assert await rooms.apresent("lobby") == []

    assert_passes(case(setUpTestData=classmethod(of_the_class), test_1=test, test_2=test), 2)
    assert not Message.objects.exists()
    assert not Room.objects.exists()
    assert not Presence.objects.exists()
