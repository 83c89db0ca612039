"""`manage.py bearer_tokens`: for people and for scripts."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from onloop.tokens.management.commands.bearer_tokens import parse_duration
from onloop.tokens.models import Token


def run(*arguments):
    """What the command writes for scripts, and for people."""
    out, err = io.StringIO(), io.StringIO()
    call_command("bearer_tokens", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def users(db_clean):
    return [User.objects.create_user(name) for name in ("ada", "bob")]


def test_a_token_is_issued_and_stands_alone_on_standard_output(users):
    out, err = run("issue", "ada", "--name", "a script", "--expires", "30d")
    token = Token.objects.authenticate(out.removesuffix("\n"))
    assert (token.user, token.name) == (users[0], "a script")
    assert token.expires - token.created == pytest.approx(
        timedelta(days=30), abs=timedelta(minutes=1)
    )
    assert token.visible_id in err
    assert token.expires.isoformat(timespec="seconds") in err
    assert out.strip() not in err


def test_without_a_duration_it_never_expires(users):
    _, err = run("issue", "ada", "--name", "x")
    assert "never expires" in err
    assert Token.objects.get().expires is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["issue", "eve", "--name", "x"], "There is no user 'eve'"),
        (["issue", "ada", "--name", " "], "1 to 100 printable"),
        (["issue", "ada"], "required: --name"),
        (["list", "--user", "eve"], "There is no user 'eve'"),
        (["revoke"], "Name the ids"),
        (["revoke", "x", "--user", "ada"], "Name the ids"),
        (["revoke", "onl_x"], "No such token: onl_x"),
        (["revoke", "--user", "eve"], "There is no user 'eve'"),
        ([], "required: ACTION"),
        (["revok"], "invalid choice"),
    ],
)
def test_a_mistake_is_named(users, arguments, says):
    with pytest.raises(CommandError, match=says):
        run(*arguments)


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "0d", "-1d", "1.5h", "30 d", "30D", "٣d", "1y", "999999999w", "1d\n"],
)
def test_what_is_no_duration_is_named(users, text):
    with pytest.raises(CommandError, match=r"duration|too long|after the year"):
        run("issue", "ada", "--name", "x", f"--expires={text}")
    assert not Token.objects.exists()


@given(
    st.integers(1, 1000), st.sampled_from([("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)])
)
def test_a_duration_is_what_it_says(count, unit):
    letter, seconds = unit
    assert parse_duration(f"{count}{letter}").total_seconds() == count * seconds


def test_an_inactive_user_gets_none(users):
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="not active"):
        run("issue", "ada", "--name", "x")


def test_the_list_has_a_line_for_each_and_no_hash(users):
    for user in users:
        Token.issue(user, name=f"{user.username}'s")
    ada, bob = Token.objects.order_by("user__username")
    bob.revoke()
    heading, *lines = run("list")[0].splitlines()
    rows = [dict(zip(heading.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [(row["id"], row["user"], row["name"], row["state"]) for row in rows] == [
        (ada.visible_id, "ada", "ada's", "valid"),
        (bob.visible_id, "bob", "bob's", "revoked"),
    ]
    assert ada.secret_hash not in "".join(lines)
    assert [row["last used"] for row in rows] == ["", ""]
    assert len(run("list", "--user", "bob")[0].splitlines()) == 2


def test_tokens_are_revoked_by_id_and_by_user(users):
    (first, text), (second, _) = (Token.issue(users[0], name="x") for _ in "12")
    other, _ = Token.issue(users[1], name="x")
    assert run("revoke", first.visible_id)[1] == "1 revoked, 0 had been before.\n"
    assert run("revoke", first.public_id)[1] == "0 revoked, 1 had been before.\n"
    assert run("revoke", text)[1] == "0 revoked, 1 had been before.\n"
    assert run("revoke", "--user", "ada")[1] == "1 revoked, 1 had been before.\n"
    other.refresh_from_db()
    assert (other.state, Token.objects.get(pk=second.pk).state) == ("valid", "revoked")


def test_one_unknown_id_revokes_none_and_a_pasted_secret_is_not_shown(users):
    token, _ = Token.issue(users[0], name="x")
    with pytest.raises(CommandError, match="No such token: onl_x"):
        run("revoke", token.visible_id, "onl_x")
    token.refresh_from_db()
    assert token.revoked is None
    with pytest.raises(CommandError) as caught:
        run("revoke", "onl_abc_SECRET")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800", "a\0b"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("issue", "{}", "--name", "x"),
        ("issue", "ada", "--name", "{}"),
        ("list", "--user", "{}"),
        ("revoke", "--user", "{}"),
        ("revoke", "{}"),
    ],
)
def test_what_is_no_text_is_said(users, arguments, text):
    with pytest.raises(CommandError, match=r"is not text|a NUL character") as said:
        run(*(argument.format(text) for argument in arguments))
    str(said.value).encode()  # it can be printed
    assert not Token.objects.exists()
