"""Errors are answered as problem documents, by every handler and wherever they come from."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.db import connections
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from onloop.middleware.json_errors import add_error_id
from tests.asgi.client import Exchange
from tests.middleware.views import ERRORS, SECRET
from tests.postgres import free_port

# No database is involved, but for one that cannot be reached: one kind is enough.
pytestmark = pytest.mark.only_on("postgresql")

OURS = "onloop.middleware.JSONErrorMiddleware"
VIEWS = "tests.middleware.views"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
JSON = "application/json"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def project(project):
    project.configure(ROOT_URLCONF=VIEWS, MIDDLEWARE=[OURS])
    return project


def is_problem(answer, status):
    problem = answer.json()
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert SECRET not in answer.content.decode()
    return problem


def entries(caplog, name="django.request"):
    return [record for record in caplog.records if record.name == name]


# --- what a view raises -----------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
async def test_what_a_view_raises_is_answered_as_a_problem(ask, error):
    _, status, detail = ERRORS[error]
    answer = await ask(f"/raises/{error}/")
    problem = is_problem(answer, status)
    assert problem["instance"] == f"/raises/{error}/"
    assert problem.get("detail", "").startswith(detail or "")
    assert ("detail" in problem) == (detail is not None)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize("error", ["missing", "unavailable", "unexpected"])
async def test_it_makes_no_difference_where_the_view_runs(ask, error):
    is_problem(await ask(f"/raises-sync/{error}/"), ERRORS[error][1])


async def test_what_djangos_own_code_says_is_not_passed_on(ask):
    assert "detail" not in is_problem(await ask("/no-object/"), 404)


async def test_a_template_that_fails_is_a_problem(ask):
    assert is_problem(await ask("/template/"), 500)["title"] == "Internal Server Error"


async def test_an_address_that_is_not_there_is_a_problem(ask):
    problem = is_problem(await ask("/nowhere/"), 404)
    assert set(problem) == {"type", "title", "status", "instance"}


async def test_a_method_that_is_not_allowed_is_a_problem_and_keeps_its_header(ask):
    answer = await ask("/get-only/", method="POST")
    is_problem(answer, 405)
    assert answer.headers["allow"] == "GET"


# --- what other middleware does ---------------------------------------------------------------


@pytest.mark.parametrize("side", ["in", "out"])
@pytest.mark.parametrize("error", ["missing", "denied", "suspicious", "unexpected"])
async def test_what_middleware_inside_raises_is_a_problem(project, ask, side, error):
    project.configure(MIDDLEWARE=[OURS, f"{VIEWS}.raises_{side}"])
    is_problem(await ask(f"/fine/?{side}={error}"), ERRORS[error][1])


@pytest.mark.parametrize("error", ["unavailable", "unreadable"])
async def test_middleware_inside_without_a_database_or_body_says_so(project, ask, error):
    project.configure(MIDDLEWARE=[OURS, f"{VIEWS}.raises_in"])
    is_problem(await ask(f"/fine/?in={error}"), ERRORS[error][1])


@pytest.mark.parametrize("side", ["in", "out"])
async def test_what_middleware_outside_raises_is_djangos_page(project, ask, side):
    project.configure(MIDDLEWARE=[f"{VIEWS}.raises_{side}", OURS])
    answer = await ask(f"/raises/missing/?{side}=denied")
    assert (answer.status, answer.headers["content-type"]) == (403, "text/html; charset=utf-8")


async def test_a_csrf_failure_is_a_problem(project, ask):
    project.configure(MIDDLEWARE=[OURS, CSRF])
    is_problem(await ask("/fine/", method="POST"), 403)


@pytest.mark.parametrize("order", [1, -1])
async def test_an_exception_that_other_middleware_handles_is_not_spoken_of(project, ask, order):
    project.configure(MIDDLEWARE=[OURS, f"{VIEWS}.HandlesErrors"][::order])
    assert "detail" not in is_problem(await ask("/raises/missing/"), 418)


async def test_with_djangos_seven_around_it_errors_are_problems(project, ask):
    from tests.project.settings import MIDDLEWARE

    project.configure(MIDDLEWARE=[*MIDDLEWARE, OURS])
    is_problem(await ask("/raises/missing/"), 404)


async def test_a_host_that_is_not_allowed_is_a_problem(project, ask):
    project.configure(MIDDLEWARE=[OURS, COMMON], ALLOWED_HOSTS=["elsewhere.example"])
    is_problem(await ask("/fine/"), 400)


@pytest.mark.parametrize("address", ["/count/", "/user/"])
async def test_a_request_whose_database_is_not_there_is_told_to_come_again(
    project, monkeypatch, tmp_path, address
):
    from tests.project.settings import MIDDLEWARE

    database = connections.settings["default"]
    if database["ENGINE"].endswith("sqlite3"):
        monkeypatch.setitem(database, "NAME", tmp_path / "nowhere" / "file.sqlite3")
    else:
        monkeypatch.setitem(database, "HOST", "127.0.0.1")
        monkeypatch.setitem(database, "PORT", str(free_port()))
    project.configure(MIDDLEWARE=[OURS, *MIDDLEWARE])
    cookies = {"sessionid": "a" * 32}
    exchange = await project.get(address, headers=[("accept", JSON)], cookies=cookies)
    assert exchange.headers("retry-after") == ["1"]
    assert exchange.json()["title"] == "Service Unavailable"
    assert set(exchange.json()) == {"type", "title", "status", "instance", "error_id"}


# --- bodies that stay -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("json", 409, b'{"own": true}'),
        ("problem", 409, b'{"own": true}'),
        ("text", 429, b"Too much."),
        ("stream", 404, b"a stream"),
    ],
)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
async def test_a_body_that_says_something_stays(ask, kind, status, content):
    answer = await ask(f"/own/{kind}/")
    assert (answer.status, answer.content) == (status, content)


async def test_a_response_that_is_no_error_stays(ask):
    answer = await ask("/fine/")
    assert (answer.status, answer.content, answer.headers.get("vary")) == (200, b"fine", None)


@pytest.mark.parametrize(
    ("kind", "status"), [("html", 422), ("text-500", 502), ("nothing", 410), ("odd", 499)]
)
async def test_html_nothing_and_the_text_of_a_servers_error_are_replaced(ask, kind, status):
    is_problem(await ask(f"/own/{kind}/"), status)


async def test_the_errors_of_django_rest_framework_stay(ask):
    assert (await ask("/rest/")).json() == {"detail": "DRF says so"}


async def test_its_browsable_pages_stay_under_a_prefix(project, ask):
    project.configure(ONLOOP={"JSON_ERRORS": ["/api/"]})
    answer = await ask("/api/rest/", accept="text/html")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")


async def test_cookies_and_headers_stay_but_those_of_the_old_body(project):
    exchange = await project.get("/with-headers/", headers=[("accept", JSON)])
    assert exchange.json()["status"] == 404
    assert exchange.cookies == {"kept": "yes"}
    assert exchange.headers("x-kept") == ["yes"]
    assert exchange.headers("etag") == exchange.headers("content-encoding") == []


# --- who gets one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "problem"),
    [
        (JSON, True),
        ("application/problem+json", True),
        ("application/vnd.api+json; q=0.5", True),
        ("application/json, text/plain, */*", True),
        ("text/html;q=0.4, application/json;q=0.5", True),
        ("APPLICATION/JSON", True),
        ("application/json;q=nonsense", True),
        ("*/*", False),
        ("", False),
        (BROWSER, False),
        ("text/html, application/json", False),
        ("application/json;q=0", False),
        ("application/json;q=0.4, text/html;q=0.5", False),
    ],
)
async def test_who_prefers_json_gets_a_problem(ask, accept, problem):
    answer = await ask("/raises/missing/", accept=accept)
    assert (answer.headers["content-type"] == "application/problem+json") == problem
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("prefix", ["/api", "/api/", "/api/raises/missing/"])
async def test_under_a_prefix_everybody_gets_one(project, ask, prefix):
    project.configure(ONLOOP={"JSON_ERRORS": [prefix]})
    answer = await ask("/api/raises/missing/", accept=BROWSER)
    is_problem(answer, 404)
    assert "vary" not in answer.headers


@pytest.mark.parametrize("prefix", ["/api", "/api/", "/other/"])
async def test_a_prefix_ends_where_a_segment_of_the_path_does(project, ask, prefix):
    project.configure(ONLOOP={"JSON_ERRORS": [prefix]})
    answer = await ask("/apiary/raises/missing/", accept="*/*")
    assert answer.headers["content-type"].startswith("text/html")


# --- DEBUG ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
async def test_with_debug_a_problem_says_no_more(project, ask, error):
    project.configure(DEBUG=True)
    problem = is_problem(await ask(f"/raises/{error}/"), ERRORS[error][1])
    assert "Traceback" not in str(problem)


async def test_with_debug_the_text_of_djangos_technical_page_is_replaced(project, ask):
    project.configure(DEBUG=True, MIDDLEWARE=[OURS, f"{VIEWS}.raises_in"])
    is_problem(await ask("/fine/?in=suspicious"), 400)


async def test_with_debug_who_wants_html_has_djangos_page_under_a_prefix_too(project, ask):
    project.configure(DEBUG=True, ONLOOP={"JSON_ERRORS": ["/api/"]})
    answer = await ask("/api/raises/unexpected/", accept=BROWSER)
    assert answer.status == 500
    assert b"ZeroDivisionError" in answer.content
    assert b"Traceback" in answer.content


async def test_exceptions_go_through_where_the_settings_say_so(project):
    project.configure(DEBUG_PROPAGATE_EXCEPTIONS=True)
    with pytest.raises(ZeroDivisionError):
        await project.get("/raises/unexpected/", headers=[("accept", JSON)])


# --- log, signal and id -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "inside"),
    [("/raises/unexpected/", []), ("/fine/?in=unexpected", ["raises_in"])],
)
async def test_an_unexpected_error_is_logged_once_with_the_id_of_its_problem(
    project, ask, caplog, exceptions, address, inside
):
    project.configure(MIDDLEWARE=[OURS, *(f"{VIEWS}.{name}" for name in inside)])
    problem = is_problem(await ask(address), 500)
    (record,) = entries(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info[1] is ERRORS["unexpected"][0]
    assert record.error_id == problem["error_id"]
    path = address.partition("?")[0]
    assert record.getMessage() == (
        f"Internal Server Error: {path} (error id {problem['error_id']})"
    )
    assert exceptions == [ERRORS["unexpected"][0]]


async def test_each_error_has_an_id_of_its_own(ask):
    first, second = [(await ask("/raises/unexpected/")).json()["error_id"] for _ in "12"]
    assert first != second


async def test_a_views_own_500_has_one_entry_with_the_id_too(ask, caplog):
    problem = is_problem(await ask("/own/text-500/"), 502)
    assert [record.error_id for record in entries(caplog)] == [problem["error_id"]]


@pytest.mark.parametrize("error", ["missing", "denied", "suspicious"])
async def test_an_expected_error_has_no_id(ask, caplog, error):
    assert "error_id" not in is_problem(await ask(f"/raises/{error}/"), ERRORS[error][1])
    assert not any(hasattr(record, "error_id") for record in caplog.records)


async def test_a_database_that_is_away_is_logged_once_with_the_id(ask, caplog):
    problem = is_problem(await ask("/raises/unavailable/"), 503)
    assert [record.error_id for record in entries(caplog)] == [problem["error_id"]]


async def test_the_entries_of_others_stay_as_they_are(ask, caplog):
    await ask("/raises/unexpected/", accept="text/html")
    (record,) = entries(caplog)
    assert record.getMessage() == "Internal Server Error: /raises/unexpected/"


async def test_the_filter_of_the_log_is_added_once(project):
    for _ in "123":
        project.configure(MIDDLEWARE=[OURS])
        await project.get("/fine/")
    assert logging.getLogger("django.request").filters.count(add_error_id) == 1


@pytest.mark.parametrize(
    ("message", "args", "text"),
    [("100% wrong", (), "100% wrong"), ("%(a)s", ({"a": "b"},), "b"), ("%s", ("%s",), "%s")],
)
def test_any_message_takes_an_id(rf_json, message, args, text):
    record = logging.LogRecord("django.request", logging.ERROR, "", 1, message, args, None)
    record.request = rf_json
    assert add_error_id(record)
    assert record.getMessage() == f"{text} (error id {record.error_id})"


@pytest.fixture
def rf_json():
    from django.test import RequestFactory

    return RequestFactory().get("/", headers={"accept": JSON})


@pytest.mark.parametrize("request_", [None, "a socket"])
def test_an_entry_without_a_request_stays_as_it_is(request_):
    record = logging.LogRecord("django.request", logging.ERROR, "", 1, "%s", ("a",), None)
    record.request = request_
    assert add_error_id(record)
    assert record.getMessage() == "a"


# --- whatever a client sends ------------------------------------------------------------------

# A header as servers hand it over: bytes without line ends.
HEADERS = st.one_of(
    st.binary(max_size=80).map(lambda raw: raw.translate(None, b"\r\n\0")),
    st.lists(
        st.sampled_from(["application/json", "text/html", "*/*", ";", ",", "q=", "q=nan", "/"]),
        max_size=8,
    ).map(lambda parts: "".join(parts).encode()),
    st.just(b"application/json; q*=x'y'z"),
)
PATHS = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40).map(lambda raw: raw.decode(errors="surrogateescape")),
).map(lambda text: "/" + text)


@settings(max_examples=200, deadline=None)
@given(path=PATHS, accept=HEADERS)
def test_no_path_or_accept_header_makes_it_fail(path, accept):
    async def ask():
        from onloop.asgi import get_asgi_application

        headers = [(b"accept", accept)]
        return await Exchange(get_asgi_application(), path, raw_headers=headers)

    with override_settings(ROOT_URLCONF=VIEWS, MIDDLEWARE=[]):
        alone = asyncio.run(ask())  # Django's own 404 page fails for some paths
    with override_settings(ROOT_URLCONF=VIEWS, MIDDLEWARE=[OURS]):
        exchange = asyncio.run(ask())
    assert exchange.status == alone.status
    if exchange.headers("content-type") == ["application/problem+json"]:
        problem = exchange.json()
        assert problem["instance"].isascii()
        assert not problem["instance"].startswith("//")
    else:
        assert exchange.content == alone.content
