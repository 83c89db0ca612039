"""The examples of `docs/bearer-tokens.md`, run as they stand there."""

from __future__ import annotations

import io
import re
import shlex
import types

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import RequestFactory, override_settings
from django.urls import path

from onloop import conf
from onloop.tokens import failures
from onloop.tokens.models import Token
from tests.postgres import ROOT
from tests.project.settings import INSTALLED_APPS, MIDDLEWARE
from tests.tokens.people import OURS, person
from tests.tokens.views import nothing

PAGE = (ROOT / "docs" / "bearer-tokens.md").read_text()


def _blocks(language):
    found = re.finditer(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return ["\n" * PAGE.count("\n", 0, block.start(1)) + block[1] for block in found]


def _page():
    page = types.SimpleNamespace(
        __name__=__name__,
        INSTALLED_APPS=[app for app in INSTALLED_APPS if app != "onloop.tokens"],
        MIDDLEWARE=[*MIDDLEWARE],
    )
    for code in _blocks("python"):
        exec(compile(code, "docs/bearer-tokens.md", "exec"), vars(page))
    return page


documented = _page()
client_address = documented.client_address
urlpatterns = [path("whoami/", documented.whoami), path("health/", nothing)]


@pytest.fixture
def set_up(project):
    project.configure(
        ROOT_URLCONF=__name__, MIDDLEWARE=documented.MIDDLEWARE, ONLOOP=documented.ONLOOP
    )
    return project


async def test_the_documented_settings_let_the_documented_token_in(set_up):
    assert documented.MIDDLEWARE[-1] == OURS
    assert set(documented.INSTALLED_APPS) == set(INSTALLED_APPS)
    user = await User.objects.acreate_user("ada")
    text = await documented.issue(user)
    bearer = [("authorization", f"Bearer {text}")]
    answer = await set_up.get("/whoami/", headers=bearer)
    assert answer.json() == {"user": "ada", "token": "nightly export"}
    assert (await set_up.get("/health/")).status == 200
    assert (await set_up.get("/whoami/")).headers("www-authenticate") == ['Bearer realm="api"']
    await documented.revoke_all(user)
    assert (await set_up.get("/whoami/", headers=bearer)).status == 401


def test_the_documented_commands_run(db_clean):
    User.objects.create_user("ada")
    (block,) = _blocks("sh")
    for line in block.strip().splitlines():
        _, _, name, *arguments = shlex.split(line)
        call_command(name, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    token = Token.objects.get()
    assert (token.name, token.state) == ("nightly export", "revoked")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [({}, "127.0.0.1"), ({"x-forwarded-for": "10.0.0.1, 192.0.2.9"}, "192.0.2.9")],
)
def test_the_documented_function_names_the_client(forwarded, client):
    with override_settings(ONLOOP={"BEARER_CLIENT_ADDRESS": f"{__name__}.client_address"}):
        assert failures.client_of(RequestFactory().get("/", headers=forwarded)) == client


async def test_the_documented_pattern_finds_tokens(db_clean):
    (pattern,) = re.findall(r"`(onl_\[.*?)`", PAGE)
    assert re.fullmatch(pattern, (await person("ada")).text)


def test_the_table_of_settings_is_complete_and_its_defaults_are_right():
    rows = re.findall(r"^\| `(BEARER_\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE)
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in
            ((name, eval(value)) for name, value in rows)}  # fmt: skip
    defaults = vars(conf.Settings())
    assert told == {name: defaults[name] for name in defaults if name.startswith("BEARER_")}
