"""Signing in, sessions, CSRF protection and messages, over a real socket with real cookies."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher, make_password
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.urls import path

from tests.project.desk import account
from tests.project.library.models import Author, Book

PASSWORD = "not a secret"


@pytest.fixture
def reader(http):
    user = User.objects.create(username="reader", password=make_password(PASSWORD))
    user.user_permissions.add(Permission.objects.get(codename="add_book"))
    return user


@pytest.fixture
def librarian(http):
    return User.objects.create_superuser("librarian", password=PASSWORD)


def post(http, path, data=None, **kwargs):
    """POST as a page does that had the CSRF token in its form."""
    token = http.get("/desk/token/").text
    return http.post(path, data={**(data or {}), "csrfmiddlewaretoken": token}, **kwargs)


def sign_in(http, username="reader", password=PASSWORD):
    return post(http, "/desk/sign-in/", {"username": username, "password": password})


# --- users ------------------------------------------------------------------------------------


def test_who_has_not_signed_in_is_nobody(http):
    assert http.get("/desk/me/").json() == {
        "lazy": "", "awaited": "", "function": "", "staff": False, "may add": False,
    }  # fmt: skip


def test_who_signs_in_is_known_in_the_next_request(http, reader):
    assert sign_in(http).text == "reader"
    assert http.get("/desk/me/").json() == {
        "lazy": "reader", "awaited": "reader", "function": "reader", "staff": False,
        "may add": True,
    }  # fmt: skip


def test_a_sync_view_knows_the_user_as_well(http, reader):
    sign_in(http)
    assert http.get("/desk/me-sync/").text == "reader"


def test_a_wrong_password_is_refused(http, reader):
    assert sign_in(http, password="wrong").status_code == 401
    assert http.get("/desk/me/").json()["lazy"] == ""


def test_who_signs_out_is_nobody_again(http, reader):
    sign_in(http)
    assert post(http, "/desk/sign-out/").status_code == 200
    assert http.get("/desk/me/").json()["lazy"] == ""


def test_an_async_view_for_members_sends_others_to_the_login_page(http, reader):
    refused = http.get("/desk/members-only/")
    assert refused.headers["location"] == "/admin/login/?next=/desk/members-only/"
    sign_in(http)
    assert http.get("/desk/members-only/").text == "reader"


def test_a_template_in_an_async_view_asks_for_user_and_relations(http, reader):
    author = Author.objects.create(name="A. Loop")
    Book.objects.create(title="One", author=author, published="2001-01-01")
    sign_in(http)
    assert "One by A. Loop, for reader" in http.get("/desk/shelf/").text


# --- CSRF -------------------------------------------------------------------------------------


def test_a_post_without_the_token_is_403(http, reader):
    answer = http.post("/desk/sign-in/", data={"username": "reader", "password": PASSWORD})
    assert answer.status_code == 403


def test_a_post_with_a_token_that_is_not_ones_own_is_403(http, reader):
    http.get("/desk/token/")
    data = {"username": "reader", "password": PASSWORD, "csrfmiddlewaretoken": "a" * 64}
    assert http.post("/desk/sign-in/", data=data).status_code == 403


def test_the_token_may_come_in_a_header(http, reader):
    token = http.get("/desk/token/").text
    data = {"username": "reader", "password": PASSWORD}
    answer = http.post("/desk/sign-in/", data=data, headers={"X-CSRFToken": token})
    assert answer.text == "reader"


def test_signing_in_changes_token_and_session(http, reader):
    http.get("/desk/visits/")
    before = dict(http.cookies)
    sign_in(http)
    after = dict(http.cookies)
    assert before["sessionid"] != after["sessionid"]
    assert http.get("/desk/visits/").text == "2"


# --- sessions and messages --------------------------------------------------------------------


def test_a_session_keeps_what_is_put_there(http):
    assert [http.get("/desk/visits/").text for _ in range(3)] == ["1", "2", "3"]


def test_a_session_keeps_its_data_under_a_new_key(http):
    http.get("/desk/visits/")
    before = http.cookies["sessionid"]
    assert http.get("/desk/new-key/").text != before
    assert http.get("/desk/visits/").text == "2"


def test_a_message_is_shown_once(http):
    post(http, "/desk/leave-a-note/", {"note": "mind the step"})
    assert http.get("/desk/read-notes/").json() == {"notes": ["mind the step"]}
    assert http.get("/desk/read-notes/").json() == {"notes": []}


# --- hashing ----------------------------------------------------------------------------------


class Watched(MD5PasswordHasher):
    """Remembers the threads that it is used in."""

    threads: ClassVar[list[int]] = []

    def encode(self, password, salt):
        self.threads.append(threading.get_ident())
        return super().encode(password, salt)


async def registers(request):
    user = await User.objects.acreate_user("new reader", password=PASSWORD)
    return HttpResponse(user.username)


urlpatterns = [path("sign-in/", account.sign_in), path("registers/", registers)]


@pytest.fixture
def hashing(project):
    project.configure(
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        PASSWORD_HASHERS=[f"{__name__}.Watched"],
    )
    yield Watched.threads
    Watched.threads.clear()


async def test_a_password_is_checked_off_the_loops_thread(project, hashing):
    await User.objects.acreate(username="reader", password=make_password(PASSWORD))
    hashing.clear()
    form = [("content-type", "application/x-www-form-urlencoded")]
    body = f"username=reader&password={PASSWORD}".encode()
    answer = await project.post("/sign-in/", body, headers=form)
    assert answer.text == "reader"
    assert hashing
    assert threading.get_ident() not in hashing


async def test_a_password_is_hashed_off_the_loops_thread(project, hashing):
    answer = await project.post("/registers/")
    assert answer.text == "new reader"
    assert hashing
    assert threading.get_ident() not in hashing
