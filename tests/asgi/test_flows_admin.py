"""The admin on the loop: each thing a librarian does there, as under WSGI, and in no thread."""

from __future__ import annotations

import json
import threading

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import path

from onloop import bridge
from tests.asgi.flows import PASSWORD, here, where_views_ran
from tests.project.library.models import Attachment, Author, Book, Review, Tag

SETTINGS = {"PASSWORD_HASHERS": [f"{__name__}.WatchedHasher"]}
BOOKS = "/admin/library/book/"
# The forms of no reviews.
NO_REVIEWS = {"reviews-TOTAL_FORMS": "0", "reviews-INITIAL_FORMS": "0"}

_hashed_in: list[int] = []


class WatchedHasher(MD5PasswordHasher):
    def salt(self):
        return "always the same"  # pages show it

    def encode(self, *args):
        _hashed_in.append(threading.get_ident())
        return super().encode(*args)


# --- the site ---------------------------------------------------------------------------------


class Site(admin.AdminSite):
    def has_permission(self, request):
        here()
        return super().has_permission(request)


class Admin(admin.ModelAdmin):
    def get_queryset(self, request):
        here()
        return super().get_queryset(request)


class ReviewInline(admin.TabularInline):
    model = Review
    extra = 1


class BookAdmin(Admin):
    list_display = ("title", "author", "published", "price")
    list_editable = ("price",)
    list_filter = ("author", "published")
    list_per_page = 2
    date_hierarchy = "published"
    ordering = ("-id",)
    search_fields = ("title", "author__name")
    autocomplete_fields = ("author",)
    filter_horizontal = ("tags",)
    inlines = (ReviewInline,)
    actions = ("make_free",)

    @admin.action(description="Make free")
    def make_free(self, request, queryset):
        here()
        changed = queryset.update(price=0)
        self.message_user(request, f"{changed} books are free now.")


class AuthorAdmin(Admin):
    ordering = ("name",)
    search_fields = ("name",)


site = Site()
site.register(Book, BookAdmin)
site.register(Author, AuthorAdmin)
site.register([Tag, Attachment], Admin)
site.register(User, UserAdmin)
urlpatterns = [path("admin/", site.urls)]


def prepare():
    User.objects.create_superuser("librarian", password=PASSWORD)
    for name in ("Ann", "Bob"):
        author = Author.objects.create(name=name)
        for n in range(1, 4):
            Book.objects.create(
                author=author, title=f"{name} {n}", published=f"200{n}-01-0{n}", price=n
            )


async def sign_in(browser, username="librarian"):
    data = {"username": username, "password": PASSWORD, "next": "/admin/"}
    answer = await browser.submit("/admin/login/?next=/admin/", data, to="/admin/login/")
    assert answer.location == "/admin/"


def as_librarian(flow):
    async def signed_in(browser):
        await sign_in(browser)
        await flow(browser)

    return signed_in


@pytest.fixture
def as_under_wsgi(flows):
    """`await as_under_wsgi(flow)`: signed in, on the loop and in no new thread."""

    async def compare(flow):
        answers = await flows.compare(as_librarian(flow))
        assert flows.threads == []
        return answers

    return compare


# --- in and out -------------------------------------------------------------------------------


async def test_signing_in_and_out(flows):
    async def flow(browser):
        answer = await browser.get("/admin/")
        assert answer.location == "/admin/login/?next=/admin/"
        wrong = {"username": "librarian", "password": "wrong"}
        refused = await browser.submit("/admin/login/", wrong)
        assert "Please enter the correct username and password" in refused.text
        assert (await browser.post("/admin/login/", wrong)).status == 403  # no token
        await sign_in(browser)
        key = browser.cookies["sessionid"]
        assert "Welcome," in (await browser.get("/admin/")).text
        assert (await browser.get("/admin/logout/")).status == 405
        left = await browser.submit("/admin/", {}, to="/admin/logout/")
        assert "Thanks for spending some quality time" in left.text
        assert browser.cookies.get("sessionid") != key
        assert (await browser.get("/admin/")).status == 302

    _hashed_in.clear()
    await flows.on_loop(flow)
    assert len(set(_hashed_in)) >= 1
    assert threading.get_ident() not in _hashed_in
    await flows.compare(flow)


async def test_a_password_is_changed_and_hashed_in_a_thread(flows):
    async def flow(browser):
        await sign_in(browser)
        new = {"new_password1": "An0ther one", "new_password2": "An0ther one"}
        page = "/admin/password_change/"
        wrong = await browser.submit(page, {"old_password": "wrong", **new})
        assert "Your old password was entered incorrectly" in wrong.text
        changed = await browser.submit(page, {"old_password": PASSWORD, **new})
        assert changed.location == "/admin/password_change/done/"
        # The session stays the librarian's.
        assert "Your password was changed" in (await browser.get(changed.location)).text
        user = await User.objects.aget()
        assert await bridge.run(user.check_password, "An0ther one")

    _hashed_in.clear()
    await flows.on_loop(flow)
    assert len(_hashed_in) >= 4
    assert threading.get_ident() not in _hashed_in
    await flows.compare(flow)


async def test_a_user_is_added_and_gets_a_password(as_under_wsgi):
    async def flow(browser):
        both = {"password1": "An0ther one", "password2": "An0ther one"}
        path = "/admin/auth/user/"
        data = {"username": "reader", "usable_password": "true", **both}
        added = await browser.submit(f"{path}add/", data)
        assert added.location == f"{path}2/change/"
        assert (await browser.get(added.location)).status == 200
        changed = await browser.submit(f"{path}2/password/", both)
        assert (changed.status, changed.location) == (302, f"{path}2/change/")

    await as_under_wsgi(flow)


async def test_who_may_only_look_may_not_change(flows):
    def clerk():
        user = User.objects.create_user("clerk", password=PASSWORD, is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_book"))

    async def flow(browser):
        await bridge.run(clerk)
        await sign_in(browser, "clerk")
        assert "Authors" not in (await browser.get("/admin/")).text
        assert (await browser.get(f"{BOOKS}1/change/")).status == 200
        assert (await browser.get(f"{BOOKS}add/")).status == 403
        assert (await browser.get("/admin/library/author/")).status == 403
        token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert (await browser.post(f"{BOOKS}1/change/", token)).status == 403

    await flows.compare(flow)


# --- lists ------------------------------------------------------------------------------------


async def test_the_list_has_pages_filters_and_a_search(as_under_wsgi):
    async def flow(browser):
        async def shown(query):
            page = await browser.get(BOOKS, query)
            assert page.status == 200
            titles = [f"{name} {n}" for name in ("Ann", "Bob") for n in "123"]
            return [title for title in titles if f">{title}</a>" in page.text]

        assert await shown({}) == ["Bob 2", "Bob 3"]
        assert await shown({"p": 3}) == ["Ann 1", "Ann 2"]
        assert await shown({"o": "1", "p": 2}) == ["Ann 3", "Bob 1"]
        assert len(await shown({"all": ""})) == 6
        assert await shown({"q": "Bob 2"}) == ["Bob 2"]
        assert await shown({"author__id__exact": 1, "q": "3"}) == ["Ann 3"]
        assert await shown({"published__year": 2001}) == ["Ann 1", "Bob 1"]
        assert (await browser.get(BOOKS, {"author__password": "x"})).status in (302, 400)
        assert (await browser.get(BOOKS, {"p": "99"})).status == 302

    await as_under_wsgi(flow)


async def test_prices_are_edited_in_the_list(as_under_wsgi):
    async def flow(browser):
        data = {
            "form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "2", "_save": "Save",
            "form-0-id": "6", "form-0-price": "7.50", "form-1-id": "5", "form-1-price": "2",
        }  # fmt: skip
        assert (await browser.submit(BOOKS, data)).status == 302
        assert "1 book was changed successfully" in (await browser.get(BOOKS)).text
        assert (await Book.objects.aget(pk=6)).price == 7.5

    await as_under_wsgi(flow)


async def test_actions_run_and_deleting_asks_first(as_under_wsgi):
    async def flow(browser):
        chosen = {"_selected_action": ["1", "2"], "index": "0"}
        nothing = await browser.submit(BOOKS, {"action": "make_free", "index": "0"})
        assert nothing.status == 302
        assert (await browser.submit(BOOKS, {"action": "make_free", **chosen})).status == 302
        assert "2 books are free now." in (await browser.get(BOOKS)).text
        asked = await browser.submit(BOOKS, {"action": "delete_selected", **chosen})
        assert "Are you sure you want to delete the selected books?" in asked.text
        assert await Book.objects.acount() == 6
        sure = {"action": "delete_selected", "post": "yes", **chosen}
        assert (await browser.submit(BOOKS, sure)).status == 302
        assert await Book.objects.acount() == 4

    await as_under_wsgi(flow)


async def test_authors_are_found_while_one_types(as_under_wsgi):
    async def flow(browser):
        query = {"app_label": "library", "model_name": "book", "field_name": "author"}
        found = await browser.get("/admin/autocomplete/", {**query, "term": "An"})
        assert json.loads(found.text)["results"] == [{"id": "1", "text": "Ann"}]
        assert (await browser.get("/admin/autocomplete/", {"term": "An"})).status == 403

    await as_under_wsgi(flow)


# --- one thing --------------------------------------------------------------------------------


async def test_a_book_is_added_changed_and_deleted_with_its_reviews(as_under_wsgi):
    async def flow(browser):
        book = {"author": "1", "title": "New", "published": "2010-01-01", "price": "9.50"}
        reviews = {"reviews-TOTAL_FORMS": "1", "reviews-INITIAL_FORMS": "0"}
        first = {"reviews-0-stars": "5", "reviews-0-text": "good"}
        wrong = await browser.submit(f"{BOOKS}add/", {**NO_REVIEWS, "title": ""})
        assert "This field is required" in wrong.text
        added = await browser.submit(
            f"{BOOKS}add/", {**book, **reviews, **first, "_continue": "yes"}
        )
        assert added.location == f"{BOOKS}7/change/"
        page = await browser.get(added.location)
        assert "was added successfully" in page.text
        assert "good" in page.text
        changed = {
            **book, "title": "Newer", "reviews-TOTAL_FORMS": "2", "reviews-INITIAL_FORMS": "1",
            "reviews-0-id": "1", "reviews-0-book": "7", "reviews-0-stars": "1",
            "reviews-0-DELETE": "on", "reviews-1-book": "7", "reviews-1-stars": "3",
        }  # fmt: skip
        assert (await browser.submit(f"{BOOKS}7/change/", changed)).location == BOOKS
        stars = [review.stars async for review in Review.objects.all()]
        assert ((await Book.objects.aget(pk=7)).title, stars) == ("Newer", [3])

        history = await browser.get(f"{BOOKS}7/history/")
        assert "Added" in history.text
        assert "Changed Title" in history.text
        asked = await browser.get(f"{BOOKS}7/delete/")
        assert "3 stars for Newer" in asked.text
        gone = await browser.submit(f"{BOOKS}7/delete/", {"post": "yes"})
        assert gone.location == BOOKS
        assert not await Review.objects.aexists()
        assert await LogEntry.objects.acount() == 3
        assert (await browser.get(f"{BOOKS}7/change/")).location == "/admin/"

    await as_under_wsgi(flow)


async def test_an_author_is_added_in_a_pop_up(as_under_wsgi):
    async def flow(browser):
        page = "/admin/library/author/add/?_to_field=id&_popup=1"
        data = {"name": "Cid", "_popup": "1", "_to_field": "id"}
        closed = await browser.submit(page, data)
        assert "Cid" in closed.text
        again = await browser.submit(page, data)
        assert "Author with this Name already exists" in again.text

    await as_under_wsgi(flow)


async def test_a_file_is_uploaded_shown_and_replaced(as_under_wsgi, tmp_path):
    async def flow(browser):
        for old in tmp_path.rglob("*.txt"):
            old.unlink()
        path = "/admin/library/attachment/"

        def upload(content):
            return {"name": "notes", "file": SimpleUploadedFile("notes.txt", content)}

        missing = await browser.submit(f"{path}add/", {"name": "notes"})
        assert "This field is required" in missing.text
        added = await browser.submit(f"{path}add/", upload(b"one" * 1000))
        assert added.location == path
        assert "attachments/notes.txt" in (await browser.get(f"{path}1/change/")).text
        await browser.submit(f"{path}1/change/", {"name": "only the name"})
        changed = await browser.submit(f"{path}1/change/", upload(b"two" * 100_000))
        assert changed.status == 302
        attachment = await Attachment.objects.aget()
        assert (tmp_path / attachment.file.name).read_bytes() == b"two" * 100_000
        assert (tmp_path / "attachments/notes.txt").read_bytes() == b"one" * 1000

    await as_under_wsgi(flow)


async def test_the_pages_around_it(as_under_wsgi):
    async def flow(browser):
        assert "catalog" in (await browser.get("/admin/jsi18n/")).text
        assert "Books" in (await browser.get("/admin/library/")).text
        assert (await browser.get("/admin/nothing/")).status == 404
        assert (await browser.get("/admin/library/book")).location == BOOKS
        assert (await browser.get(f"{BOOKS}1/")).location == f"{BOOKS}1/change/"

    await as_under_wsgi(flow)


# --- what these tests would see ---------------------------------------------------------------


async def test_without_the_setting_it_is_in_threads(flows):
    await flows.on_loop(as_librarian(lambda browser: browser.get(BOOKS)), places=[])
    assert where_views_ran() == {"thread"}
