"""Tokens by themselves: issued, found, revoked, noted, and nothing of the secret kept."""

from __future__ import annotations

import asyncio
import re
from datetime import date, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import serializers
from django.db import connection, transaction
from django.db.utils import DatabaseError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from onloop import bridge
from onloop.tokens import text as form
from onloop.tokens.models import LAST_USED_EVERY, Token
from tests.project.library.models import Author
from tests.tokens.people import person

LONG_AGO = timezone.now() - timedelta(days=1)


@pytest.fixture
def user(db_clean):
    return User.objects.create_user("ada")


# --- the text ---------------------------------------------------------------------------------


def test_a_text_has_its_form_and_is_taken_apart():
    parts = form.make()
    assert re.fullmatch(r"onl_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}", parts.text)
    assert form.split(parts.text) == parts
    assert len(form.ALPHABET) ** form.SECRET_LENGTH > 2**256


def test_no_two_are_the_same():
    made = [form.make() for _ in range(1000)]
    assert len({parts.public_id for parts in made}) == len({p.secret for p in made}) == 1000


@given(st.text() | st.from_regex(r"onl_[0-9A-Za-z]{15,17}_[0-9A-Za-z]{42,44}\n?"))
def test_what_is_taken_apart_is_the_whole_text(text):
    parts = form.split(text)
    assert parts is None or parts.text == text


# --- issuing ----------------------------------------------------------------------------------


def test_a_token_is_issued_and_only_its_hash_is_kept(user):
    token, text = Token.issue(user, name="a script")
    assert text.startswith(token.visible_id + "_")
    stored = serializers.serialize("json", Token.objects.all())
    assert text[-43:] not in stored + str(token) + repr(vars(token))
    assert (token.expires, token.last_used, token.revoked) == (None, None, None)
    assert str(token) == f"a script ({token.visible_id})"


async def test_it_is_issued_found_and_revoked_in_async_code(db_clean):
    ada = await person("ada", expires=timedelta(hours=1))
    found = await Token.objects.aauthenticate(ada.text)
    assert (found, found.user) == (ada.token, ada.user)
    assert await ada.token.arevoke()
    assert await Token.objects.aauthenticate(ada.text) is None


def test_it_expires_at_a_time_or_after_one(user):
    moment = timezone.now() + timedelta(days=3)
    assert Token.issue(user, name="x", expires=moment)[0].expires == moment
    before = timezone.now()
    token, _ = Token.issue(user, name="x", expires=timedelta(days=30))
    assert before <= token.expires - timedelta(days=30) <= timezone.now()


@pytest.mark.parametrize(
    ("expires", "says"),
    [
        (LONG_AGO, "expired already"),
        (timedelta(0), "expired already"),
        (timedelta(days=-1), "expired already"),
        (timedelta.max, "after the year 9999"),
        (datetime(2999, 1, 1), "an aware datetime"),  # noqa: DTZ001 - the mistake
    ],
)
def test_an_end_that_cannot_be_is_refused(user, expires, says):
    with pytest.raises(ValueError, match=says):
        Token.issue(user, name="x", expires=expires)
    assert not Token.objects.exists()


@pytest.mark.parametrize("expires", [30, "30d", date(2999, 1, 1)])
def test_what_is_no_time_is_refused(user, expires):
    with pytest.raises(TypeError, match="a datetime, a timedelta or None"):
        Token.issue(user, name="x", expires=expires)


def test_without_time_zones_times_are_naive(user, settings_without_zones):
    with pytest.raises(ValueError, match="a naive datetime"):
        Token.issue(user, name="x", expires=LONG_AGO)
    _, text = Token.issue(user, name="x", expires=timedelta(days=1))
    assert Token.objects.authenticate(text).last_used is not None


@pytest.fixture
def settings_without_zones():
    from django.test import override_settings

    with override_settings(USE_TZ=False):
        yield
    connection.close()


@pytest.mark.parametrize("name", ["", "  ", "a\tb", "a\nb", "a\x00", "x" * 101])
def test_a_name_that_cannot_be_is_refused(user, name):
    with pytest.raises(ValueError, match="1 to 100 printable"):
        Token.issue(user, name=name)


def test_nobody_has_no_token(db_clean):
    with pytest.raises(ValueError, match="AnonymousUser"):
        Token.issue(AnonymousUser(), name="x")


# --- revoking ---------------------------------------------------------------------------------


def test_the_time_of_the_first_revocation_stays(user):
    token, text = Token.issue(user, name="x")
    again = Token.objects.get()
    assert token.revoke()
    assert not again.revoke()
    assert token.revoked == again.revoked == Token.objects.get().revoked
    assert Token.objects.authenticate(text) is None


def test_all_tokens_of_a_user_are_revoked_at_once(user):
    other = User.objects.create_user("bob")
    texts = [Token.issue(owner, name="x")[1] for owner in (user, user, other)]
    assert user.bearer_tokens.revoke() == 2
    assert user.bearer_tokens.revoke() == 0
    assert [bool(Token.objects.authenticate(text)) for text in texts] == [False, False, True]


async def test_they_are_in_async_code(db_clean):
    ada = await person("ada")
    assert await ada.user.bearer_tokens.arevoke() == 1


# --- finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_an_unknown_id_costs_what_a_wrong_secret_does(user, monkeypatch, known):
    """One query, one hash, one comparison, of texts as long as each other."""
    token, text = Token.issue(user, name="x")
    right = form.split(text)
    tried = form.Parts(right.public_id if known else "0" * 16, "0" * 43)
    compared = []
    from onloop.tokens import models

    compare = models.constant_time_compare
    monkeypatch.setattr(
        models, "constant_time_compare", lambda *both: compared.append(both) or compare(*both)
    )
    with CaptureQueriesContext(connection) as queries:
        assert Token.objects.authenticate(tried.text) is None
    assert len(queries) == 1
    ((given, wanted),) = compared
    assert given == form.hash_of(tried.secret)
    assert len(wanted) == len(given)
    assert (wanted == token.secret_hash) == known


def test_what_cannot_be_a_token_asks_no_database(user):
    with CaptureQueriesContext(connection) as queries:
        for text in ("", "x", "onl_", "\x00" * 64, "\ud800", "a" * 100_000):
            assert Token.objects.authenticate(text) is None
    assert not queries.captured_queries


def test_a_user_comes_with_the_token(user):
    _, text = Token.issue(user, name="x")
    Token.objects.authenticate(text)
    with CaptureQueriesContext(connection) as queries:
        assert Token.objects.authenticate(text).user.get_username() == "ada"
    assert len(queries) == 1


# --- last_used --------------------------------------------------------------------------------


def test_a_use_is_noted_at_most_once_a_minute(user):
    token, text = Token.issue(user, name="x")
    first = Token.objects.authenticate(text).last_used
    assert first is not None
    with CaptureQueriesContext(connection) as queries:
        assert Token.objects.authenticate(text).last_used == first
    assert len(queries) == 1
    early = timezone.now() - LAST_USED_EVERY - timedelta(seconds=1)
    Token.objects.update(last_used=early)
    assert Token.objects.authenticate(text).last_used > first
    token.refresh_from_db()
    assert token.last_used > first


def test_a_refused_token_is_not_noted(user):
    _, text = Token.issue(user, name="x")
    Token.objects.authenticate(text[:-1] + ("0" if text[-1] != "0" else "1"))
    user.bearer_tokens.revoke()
    Token.objects.authenticate(text)
    assert Token.objects.get().last_used is None


TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER noted AFTER UPDATE ON onloop_tokens_token BEGIN"
        " INSERT INTO library_author (name) VALUES (hex(randomblob(8))); END",
        "DROP TRIGGER noted",
    ),
    "postgresql": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO library_author (name) VALUES (gen_random_uuid()::text);"
        " RETURN NULL; END $$;"
        " CREATE TRIGGER noted AFTER UPDATE ON onloop_tokens_token"
        " FOR EACH ROW EXECUTE FUNCTION note()",
        "DROP TRIGGER noted ON onloop_tokens_token; DROP FUNCTION note()",
    ),
}


@pytest.fixture
def updates(db_clean):
    """The database itself notes each row of a token that is written, as an author."""

    def run(statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)

    make, drop = TRIGGERS[db_clean.kind]
    run(make)
    yield Author.objects.acount
    run(drop)
    connection.close()


async def test_of_thirty_uses_at_once_one_is_written(updates):
    ada = await person("ada")
    found = await asyncio.gather(*(Token.objects.aauthenticate(ada.text) for _ in range(30)))
    assert all(found)
    assert await updates() == 1


async def test_the_condition_alone_lets_one_write(updates):
    """They all have read the row before any has written."""
    ada = await person("ada")
    rows = [await Token.objects.aget() for _ in range(10)]
    await asyncio.gather(*(bridge.run(row._note_use) for row in rows))
    assert await updates() == 1
    assert [row.last_used is not None for row in rows].count(True) == 1
    assert (await Token.objects.aget(pk=ada.token.pk)).last_used is not None


REFUSALS = {
    "sqlite": (
        "CREATE TRIGGER noted BEFORE UPDATE ON onloop_tokens_token BEGIN"
        " SELECT RAISE(ABORT, 'read only'); END",
        "DROP TRIGGER noted",
    ),
    "postgresql": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE 'read only'; END $$;"
        " CREATE TRIGGER noted BEFORE UPDATE ON onloop_tokens_token"
        " FOR EACH ROW EXECUTE FUNCTION note()",
        "DROP TRIGGER noted ON onloop_tokens_token; DROP FUNCTION note()",
    ),
}


@pytest.fixture
def no_updates(db_clean):
    def run(statement):
        with connection.cursor() as cursor:
            cursor.execute(statement)

    make, drop = REFUSALS[db_clean.kind]
    run(make)
    yield
    run(drop)
    connection.close()


async def test_a_use_that_cannot_be_noted_refuses_nobody(no_updates, caplog):
    ada = await person("ada")
    found = await Token.objects.aauthenticate(ada.text)
    assert (found, found.last_used) == (ada.token, None)
    assert f"The use of {ada.token.visible_id} was not noted" in caplog.text


async def test_in_a_block_the_error_is_raised_since_the_block_is_lost(no_updates):
    ada = await person("ada")
    with pytest.raises(DatabaseError):
        async with transaction.atomic():
            await Token.objects.aauthenticate(ada.text)
