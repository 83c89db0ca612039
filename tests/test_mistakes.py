"""What a newcomer gets wrong first: the message names the mistake and the cure."""

from __future__ import annotations

import pytest
from django.core import checks
from django.core.asgi import get_asgi_application as djangos_asgi_application
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import get_commands
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

import onloop
from onloop.asgi import get_asgi_application
from onloop.guard import get_running_loop
from tests.asgi.client import Exchange
from tests.fresh import project, python
from tests.project.settings import INSTALLED_APPS

# --- DATABASES and INSTALLED_APPS -----------------------------------------------------------


@pytest.mark.parametrize("engine", ["onloop.db.backends.mysql", "onloop.backends.postgresql"])
def test_an_engine_that_onloop_does_not_have_is_named_with_those_it_has(engine):
    told = python(
        f"""
        import django
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "onloop"],
            DATABASES={{"default": {{"ENGINE": {engine!r}, "NAME": "x"}}}},
        )
        try:
            django.setup()
        except ImproperlyConfigured as exc:
            print(exc)
        """
    )
    assert f"DATABASES['default']['ENGINE']: there is no {engine!r}" in told
    assert "onloop.db.backends.postgresql" in told


def test_an_engine_of_onloops_without_the_app_says_so():
    told = project(
        """
        from django.core.exceptions import ImproperlyConfigured
        from django.db import connection
        try:
            connection.vendor
        except ImproperlyConfigured as exc:
            print(exc)
        """,
        apps=[],
    )
    assert 'needs "onloop" in INSTALLED_APPS; put it first' in told


def test_a_driver_that_is_not_installed_is_named_with_the_command():
    told = project(
        """
        import sys
        from django.core.exceptions import ImproperlyConfigured
        from django.db import connection
        sys.modules["psycopg"] = None
        try:
            connection.vendor
        except ImproperlyConfigured as exc:
            print(exc)
        """,
        databases={"default": {"ENGINE": "onloop.db.backends.postgresql", "NAME": "x"}},
    )
    assert 'needs psycopg 3 and libpq: pip install "psycopg[binary]"' in told


def test_the_runserver_of_another_app_that_comes_first_is_w006():
    get_commands.cache_clear()
    apps = [
        "django.contrib.staticfiles",
        *[app for app in INSTALLED_APPS if app != "django.contrib.staticfiles"],
    ]
    try:
        with override_settings(INSTALLED_APPS=apps):
            messages = [
                message for message in checks.run_checks() if message.id == "onloop.W006"
            ]
    finally:
        get_commands.cache_clear()
    (message,) = messages
    assert "that of django.contrib.staticfiles" in message.msg
    assert 'Put "onloop" first' in message.hint


# --- ONLOOP ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LIFESPAN", "BEARER_CLIENT_ADDRESS", "TASKS_PERMISSION"])
def test_a_function_that_is_not_there_is_e008(name):
    value = ["mysite.nowhere.hook"] if name == "LIFESPAN" else "mysite.nowhere.hook"
    with override_settings(ONLOOP={name: value}):
        messages = [message for message in checks.run_checks() if message.id == "onloop.E008"]
    (message,) = messages
    assert message.msg.startswith(f"ONLOOP[\"{name}\"]: 'mysite.nowhere.hook' cannot")
    assert message.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("django.contrib.auth.aauthenticate", "is `async def`"),
        ("django.contrib.auth.SESSION_KEY", "is no function"),
    ],
)
def test_what_tells_no_address_is_e008(name, says):
    with override_settings(ONLOOP={"BEARER_CLIENT_ADDRESS": name}):
        messages = [message for message in checks.run_checks() if message.id == "onloop.E008"]
    (message,) = messages
    assert says in message.msg
    assert message.hint


# --- marks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["on_loop", "in_thread"])
def test_a_mark_with_a_name_in_place_of_a_view_says_how_it_is_written(mark):
    with pytest.raises(TypeError, match=rf"above the view.*ONLOOP\[\"{mark.upper()}\"\]"):
        getattr(onloop, mark)("reports.views")


# --- servers --------------------------------------------------------------------------------


def test_granians_own_protocol_is_refused_with_the_option_that_is_missing():
    with pytest.raises(TypeError, match="granian --interface asgi"):
        get_asgi_application().__rsgi_init__(None)


async def refused(request):
    try:
        get_running_loop()
    except SynchronousOnlyOperation as exc:
        return HttpResponse(str(exc))


urlpatterns = [path("refused/", refused)]


@pytest.mark.parametrize("middleware", [[], ["django.middleware.common.CommonMiddleware"]])
async def test_what_djangos_own_handler_serves_is_told_which_import_is_wrong(middleware):
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        answer = await Exchange(djangos_asgi_application(), "/refused/")
    assert "import get_asgi_application from onloop.asgi" in answer.text


async def test_what_no_handler_serves_is_not_told_of_one():
    with pytest.raises(SynchronousOnlyOperation) as refusal:
        get_running_loop()
    assert "asgi.py" not in str(refusal.value)
