"""The table of Django's names that are bound to ours: complete, reversible, and exact."""

from __future__ import annotations

import ast
import json
import threading
from pathlib import Path

import asgiref.sync
import django
import pytest
from django.contrib.sessions.backends import base, cache, cached_db, db, file, signed_cookies
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse
from django.test import RequestFactory

import onloop
from onloop import bridge, rebind
from onloop.rebind import TABLE
from tests.fresh import project

DJANGO = Path(django.__file__).parent


# --- the table and the installed Django -----------------------------------------------------


def imports_sync_to_async(source: str) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "asgiref.sync"
        and any(alias.name == "sync_to_async" for alias in node.names)
        for node in ast.walk(ast.parse(source))
    )


def modules_that_call_it() -> set[str]:
    """Every module of the installed Django that imports asgiref's `sync_to_async`."""
    found = set()
    for path in DJANGO.rglob("*.py"):
        source = path.read_text()
        if "sync_to_async" in source and imports_sync_to_async(source):
            parts = ("django", *path.relative_to(DJANGO).with_suffix("").parts)
            found.add(".".join(parts).removesuffix(".__init__"))
    return found


def in_this_version(entry) -> bool:
    return entry.since <= django.VERSION[:2] < entry.until


def test_the_table_has_every_module_that_calls_sync_to_async_and_no_other():
    table = {
        entry.module
        for entry in TABLE
        if entry.name == "sync_to_async" and in_this_version(entry) and not entry.package
    }
    assert table == modules_that_call_it()


def test_django_reaches_sync_to_async_in_no_other_way():
    """By importing the name from `asgiref.sync`, never as an attribute of the module."""
    for path in DJANGO.rglob("*.py"):
        source = path.read_text()
        assert "import asgiref" not in source, path
        assert "from asgiref import" not in source, path


def test_no_name_stands_in_the_table_twice():
    names = [(entry.module, entry.name) for entry in TABLE]
    assert len(names) == len(set(names))


def test_nothing_is_missing_in_the_installed_django():
    assert rebind.missing() == []


@pytest.mark.parametrize(
    "gone", ["django.db.models.query.sync_to_async", "django.db.transaction.Atomic.__exit__"]
)
def test_a_name_that_is_gone_is_named(monkeypatch, gone):
    monkeypatch.delattr(gone)
    assert rebind.missing() == [gone]


def test_a_class_that_is_gone_is_named_with_what_it_had(monkeypatch):
    monkeypatch.delattr("asgiref.sync.AsyncToSync")
    assert rebind.missing() == ["asgiref.sync.AsyncToSync.__call__"]


def test_a_module_that_is_gone_is_named(monkeypatch):
    entry = rebind.Binding("django.no_such_module", "name", object())
    monkeypatch.setattr(rebind, "TABLE", (entry,))
    assert rebind.missing() == ["django.no_such_module.name"]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in TABLE if in_this_version(entry)],
    ids=lambda entry: f"{entry.module}.{entry.name}",
)
def test_a_name_is_bound_as_the_table_says(entry):
    owner, name = rebind._owner(entry)
    bound = vars(owner)[name]
    if entry.value is None:
        assert bound is asgiref.sync.sync_to_async
    else:
        assert bound is entry.value


def test_an_app_that_is_not_installed_is_not_bound():
    said = project("""
        import sys
        print(*[name for name in sys.modules if name.startswith("django.contrib")])
    """)
    assert said == ""


# --- install and uninstall ------------------------------------------------------------------

SNAPSHOT = """
    import json
    from onloop import rebind

    ABSENT = object()

    def snapshot():
        return {
            (entry.module, entry.name): vars(owner).get(name, ABSENT)
            for entry in rebind.TABLE
            if entry.applies
            for owner, name in [rebind._owner(entry)]
        }

    def same(one, other):
        return all(one[key] is other[key] for key in one)

    before = snapshot()
    bound = {(entry.module, entry.name) for entry in rebind.TABLE if entry.value is not None}
"""
APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]


def in_a_project_without_onloop(code):
    sqlite = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    said = project(SNAPSHOT + code, apps=APPS, databases=sqlite, STATIC_URL="static/")
    return json.loads(said)


def test_installing_binds_every_name_that_applies():
    assert in_a_project_without_onloop("""
    rebind.install()
    after = snapshot()
    print(json.dumps(all((before[key] is not after[key]) == (key in bound) for key in before)))
    """)


def test_uninstalling_puts_back_the_very_same_objects():
    assert in_a_project_without_onloop("""
    rebind.install()
    rebind.uninstall()
    print(json.dumps(same(before, snapshot())))
    """)


def test_installing_and_uninstalling_twice_is_as_good_as_once():
    assert in_a_project_without_onloop("""
    rebind.install()
    once = snapshot()
    rebind.install()
    twice = snapshot()
    rebind.uninstall()
    rebind.uninstall()
    print(json.dumps(same(once, twice) and same(before, snapshot())))
    """)


def test_it_can_be_installed_again_afterwards():
    assert in_a_project_without_onloop("""
    rebind.install()
    once = snapshot()
    rebind.uninstall()
    rebind.install()
    print(json.dumps(same(once, snapshot())))
    """)


def test_an_original_can_still_be_called():
    assert in_a_project_without_onloop("""
    rebind.install()
    key = "django.utils.asyncio", "get_running_loop"
    print(json.dumps(rebind.original(*key) is before[key]))
    """)


# --- where Django's calls run ---------------------------------------------------------------


async def thread_of(adapted) -> bool:
    """Whether the adapted function runs on the loop's thread."""
    return await adapted() == threading.get_ident()


@pytest.mark.parametrize("options", [{}, {"thread_sensitive": False}])
def test_what_is_bound_to_the_loop_runs_on_the_loops_thread_in_a_bridge(runner, options):
    def function():
        return threading.get_ident(), bridge.active()

    async def main():
        thread, active = await rebind.on_loop(function, **options)()
        return thread == threading.get_ident(), active

    assert runner.run(main()) == (True, True)


@pytest.mark.parametrize("on_loop", [False, True])
def test_under_djangos_own_async_handler_a_sync_view_runs_where_it_would_under_onloops(
    runner, on_loop
):
    def view(request):
        return HttpResponse(str(threading.get_ident()))

    def middleware(get_response):
        def inner(request):
            response = get_response(request)
            response["X-Middleware"] = threading.get_ident()
            return response

        return inner

    request = RequestFactory().get("/")
    handler = BaseHandler()
    handler.resolve_request = lambda request: (view, (), {})
    if on_loop:
        view = onloop.on_loop(view)
    handler._view_middleware = handler._template_response_middleware = []
    handler._exception_middleware = []
    adapted = handler.adapt_method_mode(True, middleware(lambda request: HttpResponse()))

    async def main():
        response = await handler._get_response_async(request)
        return response.content, (await adapted(request))["X-Middleware"]

    content, thread = runner.run(main())
    assert (content == str(threading.get_ident()).encode()) is on_loop
    assert thread == str(threading.get_ident())


STORES = {db: True, signed_cookies: True, cached_db: True, cache: True, file: False}
each_store = pytest.mark.parametrize(
    ("backend", "on_loop"),
    STORES.items(),
    ids=[backend.__name__.rpartition(".")[2] for backend in STORES],
)


def session_store(backend):
    class Store(backend.SessionStore):
        def where(self):
            return threading.get_ident()

        @classmethod
        def class_where(cls):
            return threading.get_ident()

    return Store


@each_store
def test_a_session_store_decides_where_its_methods_run(runner, backend, on_loop):
    method = session_store(backend)().where
    assert runner.run(thread_of(base.sync_to_async(method))) is on_loop


@each_store
def test_a_session_store_decides_where_its_class_methods_run(runner, backend, on_loop):
    method = session_store(backend).class_where
    assert runner.run(thread_of(base.sync_to_async(method))) is on_loop


def test_a_store_that_is_nobodys_runs_in_a_thread(runner):
    class Store(base.SessionBase):
        def exists(self, session_key):
            return threading.get_ident() == loops_thread

    loops_thread = threading.get_ident()
    assert runner.run(Store().aexists("key")) is False
