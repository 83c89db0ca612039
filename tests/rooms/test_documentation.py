"""The examples of `docs/rooms.md`, run as they stand there."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User

from onloop import bridge, conf, rooms
from tests.postgres import ROOT
from tests.rooms.conftest import IN_MEMORY

TEXT = (ROOT / "docs" / "rooms.md").read_text()


def blocks():
    for block in re.finditer(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        yield "\n" * TEXT.count("\n", 0, block.start(1)) + block[1]


@pytest.fixture(scope="module")
def page():
    names = {"__name__": __name__}
    for block in blocks():
        exec(compile(block, "docs/rooms.md", "exec"), names)
    return names


class Order:
    pk = 7
    paid = False

    async def asave(self):
        assert self.paid


async def test_the_documented_senders_send(db_clean, page, set_up, visit):
    set_up(IN_MEMORY)
    user = await User.objects.acreate_user("ada")
    ada = await visit("order-7")
    await page["order_paid"](Order(), user)
    await bridge.run(page["cancel"], Order())
    heard = await ada.next_of("message")
    assert (heard["body"], heard["sender"]) == ({"paid": True}, "ada")
    assert (await ada.next_of("message"))["body"] == {"cancelled": True}


def test_the_documented_settings_name_what_there_is(page):
    from django.utils.module_loading import import_string

    assert import_string(page["CHANNEL_LAYERS"]["default"]["BACKEND"])
    for name in re.findall(r"`(onloop\.[\w.]+)`", TEXT):
        if name.count(".") > 1 and name[-1] != ".":
            import_string(name)
    assert "onloop.rooms" in page["INSTALLED_APPS"]
    assert conf.Settings().ROOMS_HEARTBEAT == 5


class Documents:
    def filter(self, pk):
        self.pk = pk
        return self

    async def aexists(self):
        return self.pk == 7


class Reader:
    pk = None
    documents = Documents()
    is_authenticated = True

    def get_full_name(self):
        return "Ada L."


async def test_the_documented_consumer_guards_its_documents(db_clean, page, set_up, visit):
    set_up(IN_MEMORY)

    def of(pk):
        async def application(scope, receive, send):
            more = {"user": Reader(), "url_route": {"kwargs": {"pk": pk}}}
            await page["DocumentConsumer"].as_asgi()({**scope, **more}, receive, send)

        return application

    ada = await visit("", app=of(7))
    assert ada.frames[0]["present"] == ["Ada L."]
    await ada.say(type="cursor", at=3)
    assert (await ada.next_of("cursor"))["at"] == 3
    await ada.say(type="post", body=5)
    assert (await ada.next_of("error"))["error"] == "Text, please."
    await ada.post(" words ")
    assert (await rooms.ahistory("document-7"))[0].body == "words"
    with pytest.raises(AssertionError, match="4403"):
        await visit("", app=of(8))


async def test_the_documented_hook_saves_with_the_post(db_clean, page, set_up, visit):
    set_up(IN_MEMORY)
    user = await User.objects.acreate_user("ada")

    async def application(scope, receive, send):
        scope = {**scope, "user": user, "url_route": {"kwargs": {"room": "lobby"}}}
        await page["CountingConsumer"].as_asgi()(scope, receive, send)

    ada = await visit("lobby", app=application)
    for _ in range(2):
        await ada.say(type="post", body="x", key="k")
        assert (await ada.next_of("posted"))["number"] == 1
    await user.arefresh_from_db()
    assert user.last_name == "1"
