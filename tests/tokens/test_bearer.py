"""Who is let in, as whom, and what the others are told, by every handler."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.db import connection
from django.utils import timezone
from django.views.debug import ExceptionReporter

from onloop import bridge
from onloop.tokens import text as form
from onloop.tokens.models import Token
from tests.project.settings import MIDDLEWARE
from tests.tokens.people import OURS, person
from tests.tokens.views import VIEWS as PLACES

REALM = 'Bearer realm="api"'
INVALID = f'{REALM}, error="invalid_token"'
MALFORMED = f'{REALM}, error="invalid_request"'
SESSIONS = {"ONLOOP": {"BEARER_SESSIONS": True}}
OPEN = {"ONLOOP": {"BEARER_PUBLIC_PATHS": ["/open/"]}}


def is_refused(answer, status=401, challenge=INVALID):
    assert answer.status == status, answer.content
    assert answer.challenge.startswith(challenge)
    assert ("error=" in answer.challenge) == ("error=" in challenge)
    assert answer.headers["cache-control"] == "no-store"
    assert "Authorization" in answer.headers["vary"]


# --- who is let in ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
async def test_a_valid_token_is_its_user_wherever_the_view_runs(ask, ada, place):
    answer = await ask(f"/{place}/", ada.bearer)
    assert answer.status == 200, answer.content
    told = answer.json()
    assert (told["user"], told["auser"], told["token"]) == ("ada", "ada", "ada's")
    assert "Authorization" in answer.headers["vary"]


async def test_it_may_run_in_the_requests_thread(project, ada):
    project.configure(ONLOOP={"IN_THREAD": [OURS]})
    answer = await project.get("/async/", headers=ada.bearer.items())
    assert (answer.json()["user"], answer.json()["auser"]) == ("ada", "ada")
    assert (await project.get("/async/", headers=[("authorization", "Bearer x")])).status == 401


async def test_the_user_takes_no_query_of_the_view(project, ada):
    answer = await project.get("/queries/", headers=ada.bearer.items())
    assert answer.json() == {"asked": [True, True], "queries": 0}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
async def test_the_scheme_may_have_any_case(ask, ada, scheme):
    assert (await ask(headers={"authorization": f"{scheme} {ada.text}"})).status == 200


async def test_a_token_is_enough_where_there_are_no_sessions(project, ask, ada):
    project.configure(MIDDLEWARE=[OURS])
    assert (await ask(headers=ada.bearer)).json()["auser"] == "ada"
    is_refused(await ask(), challenge=REALM)


# --- who is not -------------------------------------------------------------------------------


async def test_who_sends_nothing_is_asked_for_a_token_without_an_error(ask, ada):
    is_refused(await ask(), challenge=REALM)


@pytest.mark.parametrize("header", ["Basic YWRhOmFkYQ==", "Token {}", "{}"])
async def test_another_scheme_is_no_token(ask, ada, header):
    answer = await ask(headers={"authorization": header.format(ada.text)})
    is_refused(answer, challenge=REALM)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer {0} {0}", "Bearer {0},Bearer {0}", "Bearer {0},Basic x"]
)
async def test_a_malformed_header_is_a_bad_request(ask, ada, header):
    answer = await ask(headers={"authorization": header.format(ada.text)})
    is_refused(answer, 400, MALFORMED)


@pytest.mark.parametrize("raw", [b"Bearer \xff\xfe", b"Bearer a\x00b", "Bearer ü".encode()])
async def test_bytes_that_no_token_has_are_a_bad_request(project, ada, raw):
    exchange = await project.get("/async/", raw_headers=[(b"authorization", raw)])
    assert exchange.status == 400
    assert exchange.headers("www-authenticate")[0].startswith(MALFORMED)


async def test_two_headers_are_a_bad_request_though_both_are_valid(project, ada):
    header = (b"authorization", f"Bearer {ada.text}".encode())
    assert (await project.get("/async/", raw_headers=[header])).status == 200
    assert (await project.get("/async/", raw_headers=[header, header])).status == 400


@pytest.mark.parametrize(
    "text",
    ["x", "onl_", "onl_" + "0" * 16 + "_" + "0" * 43, "onl_" * 25_000, "a.b.c", "QUFB=="],
)
async def test_a_token_that_nobody_issued_is_refused(ask, ada, text):
    is_refused(await ask(headers={"authorization": f"Bearer {text}"}))


async def test_the_right_id_with_another_secret_is_refused(ask, ada):
    other = await person("eve")
    text = ada.text[:-43] + other.text[-43:]
    is_refused(await ask(headers={"authorization": f"Bearer {text}"}))


async def test_a_token_with_anything_around_it_is_refused(ask, ada):
    for text in (ada.text + "a", ada.text[:-1], "a" + ada.text, ada.text.swapcase()):
        is_refused(await ask(headers={"authorization": f"Bearer {text}"}))


async def test_a_revoked_token_is_refused(ask, ada):
    assert (await ask(headers=ada.bearer)).status == 200
    assert await ada.token.arevoke()
    is_refused(await ask(headers=ada.bearer))


async def test_an_expired_token_is_refused(ask, ada):
    late = await person("late", expires=timedelta(days=1))
    assert (await ask(headers=late.bearer)).status == 200
    await Token.objects.filter(pk=late.token.pk).aupdate(expires=timezone.now())
    is_refused(await ask(headers=late.bearer))


async def test_the_token_of_an_inactive_user_is_refused(ask, ada):
    await User.objects.aupdate(is_active=False)
    is_refused(await ask(headers=ada.bearer))


async def test_the_token_of_a_deleted_user_is_refused(ask, ada):
    await ada.user.adelete()
    is_refused(await ask(headers=ada.bearer))
    assert not await Token.objects.aexists()


# --- what they are told -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "status"), [({}, 401), ({"authorization": "Bearer x"}, 401),
                           ({"authorization": "Bearer"}, 400)],
)  # fmt: skip
async def test_who_wants_json_gets_a_problem_and_others_a_line(project, ask, header, status):
    problem = await ask(headers={"accept": "application/json", **header})
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == problem.status == status
    assert problem.json()["instance"] == "/async/"
    assert {"Accept", "Authorization"} <= set(problem.headers["vary"].split(", "))
    line = await ask(headers={"accept": "text/html", **header})
    assert line.headers["content-type"] == "text/plain; charset=utf-8"
    assert line.content.decode().strip() == problem.json()["detail"]
    project.configure(ONLOOP={"JSON_ERRORS": ["/async/"]})
    under = await ask(headers=header)
    assert under.headers["content-type"] == "application/problem+json"


async def test_the_middleware_for_json_errors_leaves_the_answer_as_it_is(project, ask):
    alone = await ask(headers={"accept": "application/json"})
    project.configure(MIDDLEWARE=["onloop.middleware.JSONErrorMiddleware", *MIDDLEWARE, OURS])
    beside = await ask(headers={"accept": "application/json"})
    assert (beside.content, beside.challenge) == (alone.content, alone.challenge)


async def test_the_realm_is_that_of_the_settings(project, ask):
    project.configure(ONLOOP={"BEARER_REALM": "the desk, upstairs"})
    assert (await ask()).challenge == 'Bearer realm="the desk, upstairs"'


async def test_nothing_of_a_token_is_logged(ask, ada, caplog):
    await ada.token.arevoke()
    caplog.set_level("DEBUG")
    is_refused(await ask(headers=ada.bearer))
    said = [record.getMessage() for record in caplog.records if record.name == "onloop.tokens"]
    assert said == [f"Token {ada.token.visible_id} was refused: revoked."]
    assert ada.text[-43:] not in caplog.text


@pytest.mark.parametrize("of_its_own", ["id", "secret"])
async def test_one_that_nobody_has_issued_is_told_by_its_id(ask, ada, caplog, of_its_own):
    issued, other = form.split(ada.text), form.make()
    sent = other if of_its_own == "id" else issued._replace(secret=other.secret)
    caplog.set_level("INFO", "onloop.tokens")
    is_refused(await ask(headers={"authorization": f"Bearer {sent.text}"}))
    why = "unknown" if of_its_own == "id" else "wrong secret"
    assert caplog.messages == [f"Token onl_{sent.public_id} was refused: {why}."]


@pytest.fixture
def reports(project):
    """What Django would mail of each error."""
    written = []

    def report(request, **kwargs):
        reporter = ExceptionReporter(request, *sys.exc_info())
        written.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    got_request_exception.connect(report)
    yield written
    got_request_exception.disconnect(report)


@pytest.fixture
async def no_table(project):
    """The database fails where tokens are looked up."""

    def rename(before, after):
        with connection.schema_editor() as editor:
            editor.alter_db_table(Token, before, after)

    await bridge.run(rename, Token._meta.db_table, "elsewhere")
    yield
    await bridge.run(rename, "elsewhere", Token._meta.db_table)


async def test_nothing_of_a_token_is_in_the_report_of_a_views_error(ask, ada, reports):
    assert (await ask("/raises/", ada.bearer)).status == 500
    (report,) = reports
    assert "HTTP_AUTHORIZATION" in report
    assert ada.text[-43:] not in report


async def test_nor_in_that_of_a_look_up_that_fails(ask, ada, reports, no_table):
    assert (await ask(headers=ada.bearer)).status == 500
    (report,) = reports
    assert "_arefusal" in report or "_refusal" in report
    assert ada.text[-43:] not in report


# --- public paths -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [{}, {"authorization": "Basic x"}, {"authorization": "Bearer"},
               {"authorization": "Bearer of.another.service"}],
)  # fmt: skip
async def test_a_public_path_needs_no_token_and_minds_no_others(project, ask, header):
    project.configure(**OPEN)
    answer = await ask("/open/async/", header)
    assert answer.json()["auser"] == ""
    assert answer.json()["token"] is None


async def test_a_token_is_its_user_on_a_public_path_too(project, ask, ada):
    project.configure(**OPEN)
    assert (await ask("/open/async/", ada.bearer)).json()["auser"] == "ada"
    await ada.token.arevoke()
    is_refused(await ask("/open/async/", ada.bearer))


async def test_a_public_path_ends_where_a_segment_does(project, ask):
    project.configure(ONLOOP={"BEARER_PUBLIC_PATHS": ["/open"]})
    assert (await ask("/open/async/")).status == 200
    for path in ("/openly/", "/async/", "/OPEN/async/", "//open/async/"):
        is_refused(await ask(path), challenge=REALM)


async def test_the_root_is_every_path(project, ask):
    project.configure(ONLOOP={"BEARER_PUBLIC_PATHS": ["/"]})
    assert (await ask("/openly/")).content == b"nothing"


async def test_an_address_that_is_not_there_tells_nobody_so(ask):
    is_refused(await ask("/nowhere/"), challenge=REALM)


# --- sessions ---------------------------------------------------------------------------------


async def test_a_session_is_no_token(ask, session):
    is_refused(await ask(cookies=session), challenge=REALM)


@pytest.mark.parametrize("place", PLACES)
async def test_a_session_does_where_the_settings_say_so(project, ask, session, place):
    project.configure(**SESSIONS)
    told = (await ask(f"/{place}/", cookies=session)).json()
    assert (told["user"], told["auser"], told["token"]) == ("bob", "bob", None)
    is_refused(await ask(), challenge=REALM)
    is_refused(await ask(cookies={"sessionid": "a" * 32}), challenge=REALM)


async def test_whose_session_it_is_is_asked_once_for_both_names_of_the_user(project, session):
    project.configure(**SESSIONS)
    answer = await project.get("/queries/", cookies=session)
    assert answer.json() == {"asked": [True, True], "queries": 0}


async def test_a_session_does_not_save_a_bad_token(project, ask, session):
    project.configure(**SESSIONS)
    bad = {"authorization": "Bearer x"}
    is_refused(await ask(headers=bad, cookies=session))
    is_refused(await ask(headers={"authorization": "Bearer"}, cookies=session), 400, MALFORMED)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("place", PLACES)
async def test_a_token_counts_more_than_a_session_wherever_the_middleware_stands(
    project, ask, ada, session, place, first
):
    order = [OURS, *MIDDLEWARE] if first else [*MIDDLEWARE, OURS]
    project.configure(MIDDLEWARE=order, **SESSIONS)
    told = (await ask(f"/{place}/", ada.bearer, cookies=session)).json()
    assert (told["user"], told["auser"]) == ("ada", "ada")


# --- CSRF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
async def test_a_token_needs_no_csrf_token_wherever_the_middleware_stands(
    project, ask, ada, session, first
):
    order = [OURS, *MIDDLEWARE] if first else [*MIDDLEWARE, OURS]
    project.configure(MIDDLEWARE=order)
    assert (await ask("/async/", ada.bearer, method="POST")).status == 200
    both = await ask("/async/", ada.bearer, method="POST", cookies=session)
    assert both.json()["user"] == "ada"


async def test_a_session_needs_one(project, ask, session):
    project.configure(**SESSIONS)
    assert (await ask("/async/", method="POST", cookies=session)).status == 403


async def test_a_public_path_needs_one(project, ask, session):
    project.configure(**OPEN)
    assert (await ask("/open/async/", method="POST", cookies=session)).status == 403
    assert (await ask("/open/async/", method="POST")).status == 403
