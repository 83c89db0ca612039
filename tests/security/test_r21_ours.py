"""R21, its second half: the doors that are Onloop's own.

The full figure is 2,000 texts where a text costs no connection, and 300 where it does; the
short form takes 100 and 12. Where Onloop composes SQL stands in `COMPOSED`; a new place is a
finding until somebody has looked at it.
"""

from __future__ import annotations

import ast
import asyncio
import sqlite3
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import DatabaseError
from django.test import override_settings
from psycopg import sql

import onloop
from onloop import bridge
from onloop.db.backends.postgresql import session as postgresql
from onloop.db.backends.sqlite3 import session as sqlite
from onloop.db.backends.sqlite3.inline import kind_of
from onloop.tokens.models import Token
from tests.db.conftest import extra_alias  # noqa: F401 - a fixture
from tests.db.helpers import afetch, fetch
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security.doors import texts

pytestmark = pytest.mark.timeout(LONG_S)

COUNT = size(100, full=2_000)
CONNECTIONS = size(12, full=300)
SOURCE = Path(onloop.__file__).parent

# The places at which SQL is put together from parts, with what the parts are.
COMPOSED = {
    # Django allows three words in `transaction_mode`, and raises before there is a connection.
    "db/backends/sqlite3/base.py": ["f'BEGIN {mode}'"],
    # psycopg's own, of an isolation level that is an enumeration.
    "db/backends/postgresql/begin.py": ["connection._get_tx_start_command()"],
    # Of Django's features, a constant of the engine: " FROM DUAL", say.
    "health/monitor.py": ["f'SELECT 1{wrapper.features.bare_select_suffix}'"],
    # No SQL: `stream` of an HTTP client, `copy.copy`.
    "http/sync.py": ["method"],
    "tasks/live.py": ["self.result"],
}
SENDS = {
    "execute", "executemany", "executescript", "copy", "stream",
    "exec_", "exec_params", "send_query", "send_query_params", "send_prepare",
}  # fmt: skip
# What hands on the statement that it was called with.
HANDED_ON = {"query", "statement", "self._query"}
# Takes a connection, to wait for what was sent.
WAITS = "generators.execute"


# --- where SQL is put together ----------------------------------------------------------------


def composed(source):
    """The statements in `source` that are neither literals nor handed on."""
    tree = ast.parse(source)
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in SENDS or not node.args or ast.unparse(node.func) == WAITS:
            continue
        statement = node.args[0]
        choices = (
            [statement.body, statement.orelse]
            if isinstance(statement, ast.IfExp)
            else [statement]
        )
        for choice in choices:
            text = ast.unparse(choice)
            if not isinstance(choice, ast.Constant) and text not in HANDED_ON | constants:
                yield text


def unknown(root):
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        found = [text for text in composed(file.read_text()) if text != "self"]
        if found != COMPOSED.get(name, []):
            yield f"{name}: {found}"


def test_every_place_that_puts_sql_together_is_known():
    assert list(unknown(SOURCE)) == []


def test_a_place_that_puts_sql_together_is_found(tmp_path):
    (tmp_path / "planted.py").write_text(
        'name = "x"\n\ndef ask(cursor, table):\n    cursor.execute("SELECT * FROM " + table)\n'
    )
    assert list(unknown(tmp_path)) == ["planted.py: [\"'SELECT * FROM ' + table\"]"]


# --- names and options of a connection --------------------------------------------------------


def told(function):
    """What comes of it: a value, or the kind of the error."""
    try:
        return function()
    except ImproperlyConfigured:
        return "ImproperlyConfigured"
    except DatabaseError:
        return "DatabaseError"
    except (ValueError, UnicodeError) as exc:
        return type(exc).__name__


async def on_the_loop(function):
    async with onloop.scope():
        return await bridge.run(told, function)


@pytest.fixture
def try_options(extra_alias):  # noqa: F811 - a fixture
    """`try_options(query, changes, texts)`: ours and Django's answer to `query`, compared.

    `changes(text)` are the settings of an alias with that text in it.
    """
    ours = connections.settings["default"]["ENGINE"]
    djangos = ours.replace("onloop.", "django.")

    def run(what, query, changes, some):
        findings = Findings(f"R21, {what}")
        for number, text in enumerate(some):
            stock = extra_alias(f"stock {number}", ENGINE=djangos, **changes(text))
            # The name of the alias is a hostile text too.
            alias = extra_alias(f"{number} {text}", **changes(text))
            theirs = told(partial(fetch, query, alias=stock))
            mine = asyncio.run(on_the_loop(partial(fetch, query, alias=alias)))
            findings.counts["options"] += 1
            findings.counts["refused"] += theirs == "ImproperlyConfigured"
            if mine != theirs:
                findings.add(f"another outcome: {what}", f"{text!r}: {mine!r}, not {theirs!r}")
            connections[alias].close_pool()
            connections[stock].close()
        findings.judge()
        return findings

    return run


APPLICATION_NAME = "SELECT current_setting('application_name')"
SOME = [text for text in texts(COUNT) if len(text) < 100]


@pytest.mark.only_on("postgresql")
def test_the_name_of_an_application_is_a_name(try_options):
    findings = try_options(
        "application_name", APPLICATION_NAME,
        lambda text: {"OPTIONS": {"application_name": text}}, SOME[:CONNECTIONS],
    )  # fmt: skip
    assert findings.counts["options"] == CONNECTIONS


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("option", ["isolation_level", "assume_role"])
def test_a_level_and_a_role_are_refused_or_named_as_in_django(try_options, option):
    try_options(
        option, "SELECT session_user = current_user",
        lambda text: {"OPTIONS": {option: text}}, [*SOME[:3], "a'b", "4"],
    )  # fmt: skip


@pytest.mark.only_on("sqlite")
def test_the_mode_of_a_transaction_is_one_of_three(try_options):
    findings = try_options(
        "transaction_mode", "SELECT 1",
        lambda text: {"OPTIONS": {"transaction_mode": text}},
        [*SOME[:10], "IMMEDIATE; SELECT 1"],
    )  # fmt: skip
    assert findings.counts["refused"] >= 10


@pytest.mark.only_on("postgresql")
def test_an_application_name_that_is_changed_is_found(try_options, monkeypatch):
    from onloop.db.backends.postgresql.opening import LoopDatabase

    connect = LoopDatabase.connect

    def careless(**params):
        name = str(params.pop("application_name", "")).replace("'", "")
        return connect(**params, application_name=name)

    monkeypatch.setattr(LoopDatabase, "connect", staticmethod(careless))
    with pytest.raises(Found):
        try_options(
            "application_name", APPLICATION_NAME,
            lambda text: {"OPTIONS": {"application_name": text}}, ["a'b"],
        )  # fmt: skip


FILES = [
    "a b.sqlite3", "a?mode=memory", "a#b", "a%20b", "a%00b", "a'b", 'a"b', "a;b", "file:a",
    "-a", "a\nb", "é", "a?immutable=1&x", ":memory", "a;ATTACH 'b'", "--", "%s",
    "'; DROP TABLE t; --",
]  # fmt: skip


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("inline_ms", [5, 0], ids=["inline", "in a worker"])
def test_a_file_of_any_name_is_that_file(extra_alias, tmp_path, settings_of, inline_ms):  # noqa: F811
    settings_of(SQLITE_INLINE_MS=inline_ms)
    for number, name in enumerate(FILES):
        alias = extra_alias(f"file {number}", NAME=tmp_path / name)

        async def write(alias=alias):
            async with onloop.scope():
                await afetch("CREATE TABLE t (a text)", alias=alias)
                await afetch("INSERT INTO t VALUES (%s)", ["here"], alias=alias)
                return await afetch("SELECT a FROM t", alias=alias)

        assert asyncio.run(write()) == "here"
        connections[alias].close_pool()
        with closing(sqlite3.connect(tmp_path / name)) as plain:
            assert plain.execute("SELECT a FROM t").fetchall() == [("here",)]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == set(FILES)


@pytest.fixture
def settings_of():
    """`settings_of(NAME=value)` changes `ONLOOP` for the test."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(override_settings(ONLOOP=given))


@pytest.mark.only_on("postgresql")
def test_a_test_database_of_any_name_is_dropped_alone(db_clean, extra_alias):  # noqa: F811
    def named():
        with db_clean.connect() as other:
            return {row[0] for row in other.execute("SELECT datname FROM pg_database")}

    before = named()
    name = "onloop'; SELECT 1; -- %s {x}\\"
    with db_clean.connect() as other:
        other.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    alias = extra_alias("to be dropped", NAME=name)
    assert fetch("SELECT current_database()", alias=alias) == name
    connections[alias].creation._destroy_test_db(name, 0)
    assert named() == before


# --- statements that are looked at ------------------------------------------------------------


@pytest.mark.parametrize("look", [postgresql.session_change, sqlite.session_change, kind_of])
def test_whatever_a_statement_is_it_can_be_looked_at(look):
    for text in texts(COUNT):
        for statement in (text, f"SELECT {text}", f"SET {text}", f"x; {text}"):
            look(statement) if look is kind_of else look(statement, [text])


@pytest.mark.parametrize("look", [postgresql.session_change, sqlite.session_change])
@pytest.mark.parametrize(
    "unit",
    [
        "/* ",
        "'",
        "$a",
        "set_config(a, ",
        "SET x; ",
        "-- ",
        "INTO ",
        "DECLARE a ",
        "(",
        '"',
        '"a"',
        "E'",
        "E'\\",
        "set_config(a, true) ",
        "CREATE a ",
    ],
)
def test_a_megabyte_of_a_statement_is_looked_at_at_once(look, unit):
    """With work that grows with the square of it, that would take hours."""
    look("x " + unit * (2**20 // len(unit)), None)


def test_a_megabyte_of_calls_in_calls_is_looked_at_at_once():
    depth = 2**20 // len("set_config(, true)")
    postgresql.session_change("x " + "set_config(" * depth + ", true)" * depth, None)


def test_a_megabyte_of_tags_is_looked_at_at_once():
    tags = " ".join(f"$a{number}$" for number in range(100_000))
    postgresql.session_change(f"x {tags}", None)


@pytest.mark.parametrize(
    "text", ["'; SET work_mem = 1; --", "LISTEN x", "SELECT pg_advisory_lock(1)", "$$; SET x"]
)
def test_a_parameter_is_no_statement(text):
    assert postgresql.session_change("SELECT %s", [text]) is None
    assert sqlite.session_change("VALUES (?)", [text]) is None


# --- tokens -----------------------------------------------------------------------------------


async def test_no_text_gets_in_by_being_a_token(db_clean):
    user = await User.objects.acreate_user("somebody")
    token, right = await Token.aissue(user, name="right")
    for text in texts(COUNT):
        for hostile in (text, right + text, text + right, right[:-1] + text[:1]):
            found = await Token.objects.aauthenticate(hostile)
            assert found is None or hostile == right
    assert await Token.objects.aauthenticate(right) == token


async def test_the_name_of_a_token_is_stored_or_refused(db_clean):
    user = await User.objects.acreate_user("somebody")
    refused = 0
    for text in texts(COUNT):
        try:
            token, _ = await Token.aissue(user, name=text)
        except ValueError:
            refused += 1
        else:
            assert (await Token.objects.aget(pk=token.pk)).name == text
    assert 0 < refused < COUNT
    assert await User.objects.acount() == 1


def test_the_command_takes_any_user_for_a_name(db_clean, capsys):
    User.objects.create_user("somebody")
    for text in texts(COUNT):
        if text.startswith("-") or "\0" in text or not text.isprintable():
            continue  # an option, or nothing that a shell can hand over
        with pytest.raises(CommandError):
            call_command("bearer_tokens", "issue", text, "--name", "x")
    assert Token.objects.count() == 0
