"""The harness of R9: a crowd of tasks, each with a transaction, settings, language and user.

Every member puts on what is its own, and looks again and again, after waits in which all the
others do the same: in its task, in children, in threads, in scopes of its own and after its
block. Whatever it finds that is not its own has leaked. Some of them fail or are cancelled on
the way, which must not leave anything behind either.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone, translation

import onloop
from onloop import bridge
from onloop.testing.stacks import Stack
from tests.asgi.client import Exchange
from tests.project.library.models import Author
from tests.reliability.findings import Findings
from tests.reliability.random_cancels import AtWait
from tests.reliability.scale import HANG_S

LANGUAGES = ["de", "fr", "es", "pl", "ja"]
ZONES = ["Europe/Berlin", "Asia/Tokyo", "America/Lima", "Africa/Lagos", "Pacific/Auckland"]
# Not "serializable": failures that are nobody's fault would have to be told from others.
LEVELS = ["read committed", "repeatable read"]
# Rows of this name are never committed: whoever sees one sees into another's transaction.
OPEN = "open"
SEEN_BY_THE_SERVER = """
    SELECT current_setting('onloop.who', true), current_setting('transaction_isolation'),
           current_setting('TimeZone'), current_setting('statement_timeout')
"""
AS_FOUND = ("", "read committed", "UTC", "0")
FAILED = ZeroDivisionError


class Member:
    """One of the crowd: what is its own, and what it has found instead."""

    def __init__(self, number: int, crowd: Crowd) -> None:
        self.number = number
        self.crowd = crowd
        self.language = LANGUAGES[number % 5]
        self.zone = ZONES[number // 5 % 5]
        self.level = LEVELS[number % 2]
        self.settings = (str(number), self.level, self.zone, f"{20 + number % 30}s")
        self.fails_at = crowd.chance.choice([0, 1, 2, 3]) if number % 7 == 0 else None
        # False once its block is being left: a thread of it may still be looking then.
        self.present = True
        self._steps = 0

    # --- looking ----------------------------------------------------------------------------

    def expect(self, what: str, seen: object, own: object) -> None:
        if seen != own and self.present:
            self.crowd.findings.add(
                f"leak of {what}", f"member {self.number}: {seen!r}, not {own!r}"
            )

    def look_around(self) -> None:
        """Language and zone; no database."""
        self.expect("language", translation.get_language(), self.language)
        self.expect("time zone", timezone.get_current_timezone_name(), self.zone)

    def look_inside(self) -> None:
        """Inside its own transaction."""
        self.look_around()
        self.look_inside_database()

    def look_inside_database(self) -> None:
        self.expect("transaction", connection.in_atomic_block, True)
        if connection.vendor == "postgresql":
            self.expect("session settings", _settings(), self.settings)
        seen = set(Author.objects.filter(name__contains=OPEN).values_list("name", flat=True))
        self.expect("uncommitted rows", seen, {f"{self.number} {OPEN}"})

    def look_outside(self) -> None:
        """Outside of any transaction, or in another scope's."""
        self.look_around()
        self.expect("transaction", connection.in_atomic_block, False)
        self.expect("autocommit", connection.get_autocommit(), True)
        if connection.vendor == "postgresql":
            self.expect("session settings", _settings(), AS_FOUND)
        seen = set(Author.objects.filter(name__contains=OPEN).values_list("name", flat=True))
        self.expect("uncommitted rows", seen, set())

    async def step(self) -> None:
        """Let the others have their way; some fail here."""
        for _ in range(self.crowd.chance.randrange(3)):
            await asyncio.sleep(0)
        self._steps += 1
        if self._steps == self.fails_at:
            raise FAILED

    def put_on(self) -> None:
        translation.activate(self.language)
        timezone.activate(self.zone)

    def begin(self) -> None:
        """The first statements of its transaction."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {self.level}")
                cursor.execute("SELECT set_config('onloop.who', %s, true)", [self.settings[0]])
                cursor.execute(f"SET LOCAL TIME ZONE '{self.zone}'")
                cursor.execute(f"SET LOCAL statement_timeout = '{self.settings[3]}'")
        Author.objects.create(name=f"{self.number} {OPEN}")

    # --- what members do --------------------------------------------------------------------

    async def in_a_block(self) -> None:
        async with transaction.atomic():
            with self.crowd.inside():
                await bridge.run(self.begin)
                await self.step()
                await bridge.run(self.look_inside)
                await self.step()
                await bridge.run(self.look_inside)
                await Author.objects.filter(name=f"{self.number} {OPEN}").adelete()

    async def with_children(self) -> None:
        async def child() -> None:
            await self.step()
            await bridge.run(self.look_inside)

        async with transaction.atomic():
            try:
                with self.crowd.inside():
                    await bridge.run(self.begin)
                    await asyncio.gather(child(), child(), return_exceptions=True)
                    await sync_to_async(self.look_inside)()
                    # asgiref's locals, Django's language among them, do not follow there.
                    await asyncio.to_thread(self.look_inside_database)
                    await self.step()
                    transaction.set_rollback(True)
            except BaseException:
                self.present = False
                raise

    async def with_a_scope_inside(self) -> None:
        async with transaction.atomic():
            with self.crowd.inside():
                await bridge.run(self.begin)
                if self.crowd.spare_connections:
                    async with onloop.scope():
                        await self.step()
                        await bridge.run(self.look_outside)
                await bridge.run(self.look_inside)
                transaction.set_rollback(True)

    async def outside(self) -> None:
        with self.crowd.inside():
            # In autocommit mode: lost, if somebody left that off. The first that it does, as a
            # look would use such a connection up.
            kept = await Author.objects.acreate(name=f"{self.number} kept")
            await bridge.run(self.look_outside)
            await self.step()
            await asyncio.gather(*(bridge.run(self.look_outside) for _ in range(3)))
            self.expect("autocommit", await Author.objects.filter(pk=kept.pk).aexists(), True)
            await bridge.run(self.look_outside)

    async def without_autocommit(self) -> None:
        """A task that ends as none should: after a write on PostgreSQL, or at once."""
        await bridge.run(transaction.set_autocommit, False)
        if connection.vendor == "postgresql" and self.crowd.chance.random() < 0.5:
            await Author.objects.acreate(name=f"{self.number} {OPEN}")

    async def as_request(self) -> None:
        # Not what it wears: the request has to put on its own.
        translation.activate("en")
        timezone.deactivate()
        kind = self.crowd.chance.choice(["async", "thread"])
        user, key = self.crowd.users[self.number % len(self.crowd.users)]
        exchange = Exchange(
            self.crowd.application,
            f"/{kind}/{self.number}/",
            cookies={"sessionid": key} if key else {},
        )
        await exchange._serve()
        if exchange.status == 200:
            self.expect("user", exchange.text, user)
        elif exchange.status != 500 or self.fails_at is None:
            self.crowd.findings.add("wrong answer", f"{self.number}: {exchange.status}")
        self.put_on()

    async def live(self, work: Callable[[], Any]) -> None:
        self.put_on()
        await work()
        if work != self.without_autocommit:
            await bridge.run(self.look_outside)


def _settings() -> tuple[str, ...]:
    with connection.cursor() as cursor:
        cursor.execute(SEEN_BY_THE_SERVER)
        who, *others = cursor.fetchone()
    return (who or "", *others)


class Crowd:
    """`await Crowd(seed, application, count=…, at_once=…).run(findings)`."""

    def __init__(
        self,
        seed: int,
        application: Any,
        *,
        count: int,
        at_once: int,
        spare_connections: bool,
        stop_early: bool = False,
        threads: bool = True,
    ) -> None:
        self.chance = random.Random(seed)
        self.application = application
        self.count = count
        self.at_once = at_once
        self.spare_connections = spare_connections
        self.stop_early = stop_early
        self.threads = threads
        self.users: list[tuple[str, str]] = []
        self.members: dict[int, Member] = {}
        self.findings: Findings
        self.most_inside = 0
        self._inside = 0

    def inside(self) -> Any:
        return _Counted(self)

    async def run(self, findings: Findings) -> None:
        """Let `count` members live, `at_once` of them at a time."""
        global here  # noqa: PLW0603 - views are functions of the module
        here = self
        self.findings = findings
        self.users = [await bridge.run(_log_in, name) for name in ("ann", "bob", "eve")]
        self.users.append(("", ""))
        waiting = set()
        for number in range(self.count):
            if self.stop_early and findings.kinds:
                break
            waiting.add(self._begin(number))
            if len(waiting) >= self.at_once:
                done, waiting = await asyncio.wait(
                    waiting, timeout=HANG_S, return_when=asyncio.FIRST_COMPLETED
                )
                self._judge(done)
                if not done:
                    break
        if waiting:
            done, waiting = await asyncio.wait(waiting, timeout=HANG_S)
            self._judge(done)
        for task in waiting:
            findings.add("hangs", f"{task.get_name()}\n{Stack.of(task)}")
            task.cancel()
        findings.measured["inside at once, at most"] = self.most_inside

    def _begin(self, number: int) -> asyncio.Task[None]:
        member = self.members[number] = Member(number, self)
        works = [
            member.in_a_block,
            member.with_a_scope_inside,
            member.outside,
            member.without_autocommit,
        ]
        if self.threads:
            works += [member.with_children, member.as_request]
        work = self.chance.choice(works)
        coro: Any = self._in_scope(member, work) if number % 2 else member.live(work)
        if number % 5 == 0:
            at = self.chance.randrange(12 if connection.vendor == "postgresql" else 4)
            coro = AtWait(coro, at, lambda _: task.cancel())
        task = asyncio.create_task(coro, name=f"member {number}, {work.__name__}")
        return task

    async def _in_scope(self, member: Member, work: Callable[[], Any]) -> None:
        async with onloop.scope():
            await asyncio.create_task(member.live(work))

    def _judge(self, tasks: set[asyncio.Task[None]]) -> None:
        counts = self.findings.counts
        for task in tasks:
            counts["members"] += 1
            if task.cancelled():
                counts["cancelled"] += 1
            elif (exc := task.exception()) is None:
                counts["lived"] += 1
            elif isinstance(exc, FAILED):
                counts["failed"] += 1
            else:
                self.findings.add("error without a cause", f"{task.get_name()}: {exc!r}")


class _Counted:
    """How many are inside of their block, or of their work, at once."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def __enter__(self) -> None:
        self._crowd._inside += 1
        self._crowd.most_inside = max(self._crowd.most_inside, self._crowd._inside)

    def __exit__(self, *exc: object) -> None:
        self._crowd._inside -= 1


def _log_in(name: str) -> tuple[str, str]:
    user = User.objects.create_user(name)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return name, str(session.session_key)


# --- as views ---------------------------------------------------------------------------------

here: Crowd


def _as_found(member: Member) -> None:
    member.expect("language", translation.get_language(), "en")
    member.expect("time zone", timezone.get_current_timezone_name(), "UTC")
    member.expect("transaction", connection.in_atomic_block, False)


async def in_async_view(request, number):
    member = here.members[number]
    _as_found(member)
    member.put_on()
    await member.step()
    before = (await request.auser()).username
    await member.in_a_block()
    member.expect("user", (await request.auser()).username, before)
    await bridge.run(member.look_outside)
    return HttpResponse(before)


def in_view_thread(request, number):
    member = here.members[number]
    _as_found(member)
    member.put_on()
    before = request.user.username
    with transaction.atomic():
        member.begin()
        member.look_inside()
        transaction.set_rollback(True)
    member.look_outside()
    return HttpResponse(before)


urlpatterns = [
    path("async/<int:number>/", in_async_view),
    path("thread/<int:number>/", in_view_thread),
]
