"""`manage.py check`: silent about a good project, with an id for each bad one."""

from __future__ import annotations

import platform
import sys
import sysconfig

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from onloop.middleware import BearerTokenMiddleware
from tests.fresh import project
from tests.project.settings import INSTALLED_APPS, MIDDLEWARE

POSTGRESQL = {"ENGINE": "onloop.db.backends.postgresql", "NAME": "none"}
SQLITE = {"ENGINE": "onloop.db.backends.sqlite3", "NAME": ":memory:"}


def found():
    """Ours, of the messages about the tests' own project."""
    return [message for message in checks.run_checks() if message.id.startswith("onloop.")]


def ids():
    return [message.id for message in found()]


def found_in_project(others=(), **databases):
    """What is said about a project with these databases and other settings."""
    return project(
        """
        from django.core import checks
        for message in checks.run_checks():
            print(message.id, message)
        """,
        databases=databases,
        **dict(others),
    )


def test_nothing_is_said_about_a_good_project():
    assert found() == []


def test_the_command_passes_for_a_good_project():
    call_command("check")


def test_every_message_has_a_hint_or_names_the_cure(monkeypatch):
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.delattr("django.db.models.query.sync_to_async")
    messages = found()
    assert len(messages) == 3
    assert all(message.hint for message in messages)


# --- the interpreter and Django -------------------------------------------------------------


def test_another_interpreter_is_e001(monkeypatch):
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")
    assert ids() == ["onloop.E001"]


@pytest.fixture
def free_threaded(monkeypatch):
    """As a free-threaded build would answer."""
    ask = sysconfig.get_config_var
    monkeypatch.setattr(
        sysconfig, "get_config_var", lambda name: 1 if name == "Py_GIL_DISABLED" else ask(name)
    )


def test_python_without_the_interpreter_lock_is_e001(monkeypatch, free_threaded):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert ids() == ["onloop.E001"]


def test_a_free_threaded_build_with_the_lock_on_is_good(monkeypatch, free_threaded):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert ids() == []


def test_a_name_that_django_does_not_have_is_e002_and_named(monkeypatch):
    monkeypatch.delattr("django.db.models.query.sync_to_async")
    messages = found()
    assert [message.id for message in messages] == ["onloop.E002"]
    assert "django.db.models.query.sync_to_async" in messages[0].msg


def test_the_variable_that_turns_the_guard_off_is_w001(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    assert ids() == ["onloop.W001"]


# --- settings -------------------------------------------------------------------------------


def test_a_wrong_setting_is_e003_and_named():
    with override_settings(ONLOOP={"SYNC_VIEWS": "async"}):
        messages = found()
    assert [message.id for message in messages] == ["onloop.E003"]
    assert 'ONLOOP["SYNC_VIEWS"]' in messages[0].msg


def test_the_command_fails_for_an_error():
    with (
        override_settings(ONLOOP={"SYNC_VIEWS": "async"}),
        pytest.raises(SystemCheckError, match=r"onloop\.E003"),
    ):
        call_command("check")


# --- databases ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        SQLITE,
        POSTGRESQL,
        POSTGRESQL | {"OPTIONS": {"pool": True}},
        POSTGRESQL | {"OPTIONS": {"pool": {"min_size": 2, "max_size": 5, "mode": "session"}}},
    ],
    ids=["sqlite", "postgresql", "pool", "pool-with-options"],
)
def test_nothing_is_said_about_good_databases(good):
    assert found_in_project(default=good) == ""


def test_a_project_without_a_database_is_good():
    assert found_in_project() == ""


def test_an_engine_that_blocks_is_w002_and_named():
    said = found_in_project(
        default=SQLITE,
        legacy={"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    )
    assert said.startswith("onloop.W002")
    assert "'legacy'" in said
    assert "django.db.backends.sqlite3" in said


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        ({"mode": "statement"}, "must be 'transaction' or 'session'"),
        ({"maxsize": 5}, "unknown names: maxsize"),
        (20, "must be True or a dictionary such as {'max_size': 20}, not 20"),
        ({"min_size": 5, "max_size": 2}, "max_size"),
    ],
    ids=["mode", "unknown", "number", "sizes"],
)
def test_wrong_options_of_a_pool_are_e004_and_named(pool, says):
    said = found_in_project(default=POSTGRESQL | {"OPTIONS": {"pool": pool}})
    assert said.startswith("onloop.E004")
    assert says in said


def test_persistent_connections_with_a_pool_are_e005():
    said = found_in_project(
        default=POSTGRESQL | {"OPTIONS": {"pool": True}, "CONN_MAX_AGE": 60}
    )
    assert said.startswith("onloop.E005")


@pytest.mark.parametrize("age", [60, None])
def test_persistent_connections_without_pool_options_are_w003(age):
    said = found_in_project(default=POSTGRESQL | {"CONN_MAX_AGE": age})
    assert said.startswith("onloop.W003")


# --- bearer tokens --------------------------------------------------------------------------

BEARER = "onloop.middleware.BearerTokenMiddleware"


class Derived(BearerTokenMiddleware):
    """A project's own."""


def test_bearer_tokens_without_their_app_are_e006():
    said = found_in_project(others={"MIDDLEWARE": [BEARER]}, default=SQLITE)
    assert said.startswith("onloop.E006")
    assert '"onloop.tokens" into INSTALLED_APPS' in said


def test_bearer_tokens_before_sessions_are_w004_and_so_are_those_of_a_subclass():
    for ours in (BEARER, f"{__name__}.Derived"):
        with override_settings(MIDDLEWARE=[ours, *MIDDLEWARE]):
            messages = found()
        assert [message.id for message in messages] == ["onloop.W004"] * 2
        assert "SessionMiddleware" in messages[0].msg
        assert "AuthenticationMiddleware" in messages[1].msg


@pytest.mark.parametrize("middleware", [[BEARER], [*MIDDLEWARE, BEARER], ["not.there"]])
def test_nothing_is_said_about_bearer_tokens_that_stand_right(middleware):
    with override_settings(MIDDLEWARE=middleware):
        assert found() == []


def test_settings_of_clients_without_httpx_are_named():
    told = project(
        """
        import sys
        sys.modules["httpx"] = None
        from django.core import checks
        for message in checks.run_checks():
            print(message.id, message)
        try:
            import onloop.http
        except ImportError as exc:
            print(exc)
        """,
        databases={"default": SQLITE},
        ONLOOP={"HTTP": {"RETRIES": 0}},
    )
    assert "onloop.W005" in told
    assert 'onloop.http needs httpx: pip install "django-onloop[http]"' in told


# --- rooms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [None, {}, {"other": {}}])
def test_rooms_without_a_channel_layer_are_e007(layers):
    with override_settings(CHANNEL_LAYERS=layers):
        (message,) = found()
    assert message.id == "onloop.E007"
    assert "InMemoryChannelLayer" in message.hint


def test_nothing_is_said_about_layers_where_there_are_no_rooms():
    apps = [app for app in INSTALLED_APPS if app != "onloop.rooms"]
    with override_settings(INSTALLED_APPS=apps, CHANNEL_LAYERS={}):
        assert found() == []
