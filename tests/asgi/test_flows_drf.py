"""Django REST framework on the loop: the same answers as under WSGI, and no thread."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import Http404
from django.urls import include, path
from rest_framework import exceptions, serializers, viewsets
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import action, api_view
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.pagination import CursorPagination, PageNumberPagination
from rest_framework.parsers import FileUploadParser, FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import IsAuthenticated, IsAuthenticatedOrReadOnly
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from tests.asgi.flows import PASSWORD, here, where_views_ran
from tests.project.library.models import Attachment, Author, Book, Review

SETTINGS = {"LOGIN_URL": "/auth/login/"}
BOOKS = "/api/books/"


# --- serializers ------------------------------------------------------------------------------


class ReviewSerializer(serializers.ModelSerializer):
    class Meta:
        model = Review
        fields = ("id", "stars", "text")


class BookSerializer(serializers.ModelSerializer):
    author_name = serializers.CharField(source="author.name", read_only=True)
    reviews = ReviewSerializer(many=True, required=False)

    class Meta:
        model = Book
        fields = ("id", "title", "author", "author_name", "published", "price", "reviews")

    @transaction.atomic
    def create(self, validated_data):
        reviews = validated_data.pop("reviews", [])
        book = super().create(validated_data)
        for review in reviews:
            book.reviews.create(**review)
        return book


class AuthorSerializer(serializers.HyperlinkedModelSerializer):
    books = BookSerializer(many=True, read_only=True)
    titles = serializers.SlugRelatedField(
        slug_field="title", source="books", many=True, read_only=True
    )

    class Meta:
        model = Author
        fields = ("url", "name", "books", "titles")


# --- views ------------------------------------------------------------------------------------


class Here:
    def initial(self, *args, **kwargs):
        here()
        super().initial(*args, **kwargs)


class Pages(PageNumberPagination):
    page_size = 2


class Cursor(CursorPagination):
    page_size = 1
    ordering = "id"


class BookViewSet(Here, viewsets.ModelViewSet):
    queryset = Book.objects.order_by("id")
    serializer_class = BookSerializer
    pagination_class = Pages
    filter_backends = (SearchFilter, OrderingFilter)
    search_fields = ("title", "author__name")
    authentication_classes = (TokenAuthentication, SessionAuthentication)
    permission_classes = (IsAuthenticatedOrReadOnly,)

    @action(detail=True, methods=["post"])
    def praise(self, request, pk=None):
        book = self.get_object()
        book.reviews.create(stars=5, text=f"says {request.user.username}")
        return Response(self.get_serializer(book).data)


class AuthorViewSet(Here, viewsets.ReadOnlyModelViewSet):
    queryset = Author.objects.prefetch_related("books__reviews")
    serializer_class = AuthorSerializer
    pagination_class = Cursor


class Throttle(ScopedRateThrottle):
    THROTTLE_RATES = {"few": "2/hour"}


class Throttled(Here, APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "few"

    def get(self, request):
        return Response({"authors": Author.objects.count()})


class Upload(Here, APIView):
    parser_classes = (MultiPartParser,)

    def post(self, request, name=""):
        uploaded = request.data["file"]
        attachment = Attachment.objects.create(name=name or uploaded.name, file=uploaded)
        with attachment.file.open() as stored:
            return Response({"name": attachment.name, "size": len(stored.read())}, status=201)


class RawUpload(Upload):
    parser_classes = (FileUploadParser,)


class Parsed(Here, APIView):
    parser_classes = (JSONParser, FormParser)

    def post(self, request):
        return Response(request.data)


ERRORS = {
    "validation": exceptions.ValidationError({"title": ["too long"]}),
    "missing": exceptions.NotFound(),
    "django": Http404("none"),
    "denied": exceptions.PermissionDenied("not you"),
    "own": exceptions.APIException("out of order"),
    "bug": ZeroDivisionError("a bug"),
}


class Raises(Here, APIView):
    def get(self, request, name):
        Author.objects.create(name=f"before {name}")
        raise ERRORS[name]


class Me(Here, APIView):
    authentication_classes = (TokenAuthentication, SessionAuthentication)
    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response({"user": request.user.username, "by token": bool(request.auth)})


class Login(Here, ObtainAuthToken):
    pass


@api_view(["GET"])
def function(request):
    here()
    return Response({"books": Book.objects.count()})


router = DefaultRouter()
router.register("books", BookViewSet)
router.register("authors", AuthorViewSet)
urlpatterns = [
    path("api/", include(router.urls)),
    path("auth/", include("rest_framework.urls")),
    path("token/", Login.as_view()),
    path("me/", Me.as_view()),
    path("throttled/", Throttled.as_view()),
    path("upload/", Upload.as_view()),
    path("upload/<str:name>/", RawUpload.as_view()),
    path("parsed/", Parsed.as_view()),
    path("raises/<str:name>/", Raises.as_view()),
    path("function/", function),
]


# --- tests ------------------------------------------------------------------------------------


def prepare():
    Token.objects.create(user=User.objects.create_user("reader", password=PASSWORD), key="key")
    for name in ("Ann", "Bob"):
        author = Author.objects.create(name=name)
        for n in range(1, 4):
            book = Book.objects.create(
                author=author, title=f"{name} {n}", published="2001-01-01", price=n
            )
            book.reviews.create(stars=n)


@pytest.fixture
def as_under_wsgi(flows):
    """`await as_under_wsgi(flow)`: on the loop and in no new thread."""

    async def compare(flow):
        await flows.compare(flow)
        assert flows.threads == []

    return compare


async def send(browser, method, path, data, **headers):
    body = json.dumps(data).encode()
    return await browser.ask(method, path, body, "application/json", **headers)


def titles(answer):
    return [book["title"] for book in json.loads(answer.text)["results"]]


TOKEN = {"authorization": "Token key"}
NEW = {
    "title": "New", "author": 1, "published": "2010-01-01", "price": "1.50",
    "reviews": [{"stars": 4, "text": "nested"}, {"stars": 2}],
}  # fmt: skip


async def test_lists_have_pages_a_search_and_an_order(as_under_wsgi):
    async def flow(browser):
        first = await browser.get(BOOKS)
        assert titles(first) == ["Ann 1", "Ann 2"]
        assert json.loads(first.text)["next"] == f"http://testserver{BOOKS}?page=2"
        assert titles(await browser.get(f"{BOOKS}?page=3")) == ["Bob 2", "Bob 3"]
        assert titles(await browser.get(f"{BOOKS}?search=Bob&ordering=-title")) == [
            "Bob 3", "Bob 2",
        ]  # fmt: skip
        assert (await browser.get(f"{BOOKS}?page=4")).status == 404
        authors = json.loads((await browser.get("/api/authors/")).text)
        assert authors["results"][0]["titles"] == ["Ann 1", "Ann 2", "Ann 3"]
        following = authors["next"].removeprefix("http://testserver")
        (bob,) = json.loads((await browser.get(following)).text)["results"]
        assert bob["books"][2]["reviews"] == [{"id": 6, "stars": 3, "text": ""}]

    await as_under_wsgi(flow)


async def test_a_book_is_created_changed_and_deleted_with_a_token(as_under_wsgi):
    async def flow(browser):
        assert (await send(browser, "POST", BOOKS, NEW)).status == 401
        wrong = await send(browser, "POST", BOOKS, NEW, authorization="Token wrong")
        assert (wrong.status, wrong.headers["www-authenticate"]) == (401, "Token")
        created = await send(browser, "POST", BOOKS, NEW, **TOKEN)
        assert created.status == 201
        book = json.loads(created.text)
        assert (book["id"], [review["stars"] for review in book["reviews"]]) == (7, [4, 2])
        bad = {**NEW, "reviews": [{"stars": -1}]}
        assert (await send(browser, "POST", BOOKS, bad, **TOKEN)).status == 400
        path = f"{BOOKS}7/"
        changed = await send(browser, "PATCH", path, {"title": "Newer"}, **TOKEN)
        assert json.loads(changed.text)["title"] == "Newer"
        assert (await send(browser, "PUT", path, {"title": "x"}, **TOKEN)).status == 400
        praised = await send(browser, "POST", f"{path}praise/", {}, **TOKEN)
        assert json.loads(praised.text)["reviews"][-1]["text"] == "says reader"
        assert (await browser.ask("DELETE", path, **TOKEN)).status == 204
        assert (await browser.get(path)).status == 404

    await as_under_wsgi(flow)


async def test_a_token_is_given_for_a_password(as_under_wsgi):
    async def flow(browser):
        wrong = await send(browser, "POST", "/token/", {"username": "reader", "password": "x"})
        assert wrong.status == 400
        given = await send(
            browser, "POST", "/token/", {"username": "reader", "password": PASSWORD}
        )
        assert json.loads(given.text) == {"token": "key"}
        assert (await browser.get("/me/")).status == 401
        me = await browser.get("/me/", **TOKEN)
        assert json.loads(me.text) == {"user": "reader", "by token": True}

    await as_under_wsgi(flow)


async def test_a_session_signs_in_and_needs_its_token_for_csrf(as_under_wsgi):
    async def flow(browser):
        data = {"username": "reader", "password": PASSWORD, "next": "/me/"}
        assert (await browser.submit("/auth/login/", data)).location == "/me/"
        me = await browser.get("/me/")
        assert json.loads(me.text) == {"user": "reader", "by token": False}
        assert (await send(browser, "POST", BOOKS, NEW)).status == 403
        token = browser.cookies["csrftoken"]
        assert (await send(browser, "POST", BOOKS, NEW, x_csrftoken=token)).status == 201
        page = (await browser.get(BOOKS, accept="text/html")).text
        assert "Ann 1" in page
        assert "Make a POST request" in page
        left = await browser.post(
            "/auth/logout/", {"csrfmiddlewaretoken": token, "next": "/me/"}
        )
        assert left.location == "/me/"
        assert (await browser.get("/me/")).status == 401

    await as_under_wsgi(flow)


async def test_the_browsable_pages_are_shown(as_under_wsgi):
    async def flow(browser):
        for shown in ("/api/", BOOKS, f"{BOOKS}1/", "/api/authors/", "/function/", "/parsed/"):
            page = await browser.get(shown, accept="text/html")
            assert "Django REST framework" in page.text

    await as_under_wsgi(flow)


async def test_what_a_client_may_do_is_told_or_refused(as_under_wsgi):
    async def flow(browser):
        told = await browser.ask("OPTIONS", BOOKS, **TOKEN)
        assert json.loads(told.text)["actions"]["POST"]["title"]["max_length"] == 200
        assert (await browser.ask("HEAD", BOOKS)).status == 200
        assert (await browser.ask("DELETE", "/function/")).status == 405
        assert json.loads((await browser.get("/function/")).text) == {"books": 6}
        assert (await browser.get(BOOKS, accept="image/png")).status == 406
        assert (await browser.ask("POST", "/parsed/", b"x", "text/xml")).status == 415
        assert (await browser.ask("POST", "/parsed/", b"{", "application/json")).status == 400
        form = "application/x-www-form-urlencoded"
        parsed = await browser.ask("POST", "/parsed/", b"a=1&b=2", form)
        assert json.loads(parsed.text) == {"a": "1", "b": "2"}

    await as_under_wsgi(flow)


async def test_a_throttle_holds(as_under_wsgi):
    async def flow(browser):
        statuses = [(await browser.get("/throttled/")).status for _ in range(3)]
        assert statuses == [200, 200, 429]

    await as_under_wsgi(flow)


async def test_files_are_uploaded(as_under_wsgi):
    async def flow(browser):
        content = b"x" * 300_000
        form = {"file": SimpleUploadedFile("notes.txt", content)}
        uploaded = await browser.post("/upload/", form)
        assert json.loads(uploaded.text) == {"name": "notes.txt", "size": 300_000}
        raw = await browser.ask(
            "POST", "/upload/raw/", content, "text/plain",
            content_disposition="attachment; filename=raw.txt",
        )  # fmt: skip
        assert json.loads(raw.text) == {"name": "raw", "size": 300_000}
        nameless = await browser.ask("POST", "/upload/raw/", content, "text/plain")
        assert nameless.status == 400

    await as_under_wsgi(flow)


async def test_exceptions_are_answered(as_under_wsgi):
    async def flow(browser):
        statuses = {name: (await browser.get(f"/raises/{name}/")).status for name in ERRORS}
        assert statuses == {
            "validation": 400, "missing": 404, "django": 404, "denied": 403, "own": 500,
            "bug": 500,
        }  # fmt: skip

    await as_under_wsgi(flow)


async def test_without_the_setting_it_is_in_threads(flows):
    await flows.on_loop(lambda browser: browser.get(BOOKS), places=[])
    assert where_views_ran() == {"thread"}
