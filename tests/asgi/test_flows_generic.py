"""Django's generic views on the loop: the same answers as under WSGI, and no thread."""

from __future__ import annotations

import pytest
from django import forms
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.messages.views import SuccessMessageMixin
from django.http import HttpResponse
from django.urls import path
from django.views import generic

from tests.asgi.flows import PASSWORD, here, where_views_ran
from tests.project.library.models import Author, Book

FORM = '<form method="post">{% csrf_token %}{{ form }}</form>'
SAID = "{% for message in messages %}{{ message }}|{% endfor %}"
DATES = "{% for date in date_list %}{{ date|date:'Y-m-d' }} {% endfor %}"
ROWS = "{% for book in object_list %}{{ book.title }} by {{ book.author.name }};{% endfor %}"
PAGE = "{{ page_obj.number }} of {{ page_obj.paginator.num_pages }}:"
TEMPLATES = {
    "library/book_list.html": SAID + PAGE + ROWS,
    "library/book_detail.html": "{{ book.title }} by {{ book.author.name }}",
    "library/book_form.html": FORM,
    "library/book_confirm_delete.html": "Delete {{ book }}?" + FORM,
    "mail.html": FORM,
    "home.html": "{{ user.username }} has {{ shop }}",
    "registration/login.html": FORM,
    **{
        f"library/book_archive{suffix}.html": DATES + ROWS
        for suffix in ("", "_year", "_month", "_week", "_day")
    },
}
SETTINGS = {
    "LOGIN_URL": "/login/",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": False,
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)],
                "context_processors": [
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
            },
        },
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "NAME": "forms",
        },
    ],
}


# --- views ------------------------------------------------------------------------------------


class Here:
    def setup(self, *args, **kwargs):
        here()
        super().setup(*args, **kwargs)


class Books(Here):
    model = Book
    queryset = Book.objects.order_by("id")


class BookList(Books, generic.ListView):
    paginate_by = 2


class BookDetail(Books, generic.DetailView):
    slug_field = "title"


class Changes(SuccessMessageMixin, Books):
    fields = ("title", "author", "published", "price", "tags")
    success_url = "/books/"
    success_message = "%(title)s is saved."


class BookCreate(LoginRequiredMixin, Changes, generic.CreateView):
    pass


class BookUpdate(Changes, generic.UpdateView):
    pass


class BookDelete(Books, generic.DeleteView):
    success_url = "/books/"


class Mail(forms.Form):
    address = forms.EmailField()
    author = forms.ModelChoiceField(Author.objects.all())


class MailView(Here, generic.FormView):
    form_class = Mail
    template_name = "mail.html"
    success_url = "/books/"

    def form_valid(self, form):
        messages.info(self.request, f"Mail to {form.cleaned_data['author'].name}")
        return super().form_valid(form)


class Home(Here, generic.TemplateView):
    template_name = "home.html"
    extra_context = {"shop": "books"}


class ToBook(Here, generic.RedirectView):
    query_string = True

    def get_redirect_url(self, *args, **kwargs):
        first = Book.objects.earliest("id")
        return super().get_redirect_url(pk=first.pk) or f"/books/{first.pk}/"


class Dated(Books):
    date_field = "published"
    month_format = "%m"
    allow_future = True


class Archive(Dated, generic.ArchiveIndexView):
    pass


class Year(Dated, generic.YearArchiveView):
    make_object_list = True


class Month(Dated, generic.MonthArchiveView):
    pass


class Week(Dated, generic.WeekArchiveView):
    week_format = "%W"


class Day(Dated, generic.DayArchiveView):
    pass


class OfDate(Dated, generic.DateDetailView):
    pass


class Plain(Here, generic.View):
    def get(self, request):
        return HttpResponse(Author.objects.count())

    def head(self, request):
        return HttpResponse(headers={"Allow": str(Author.objects.count())})


class Login(Here, LoginView):
    next_page = "/"


class Logout(Here, LogoutView):
    next_page = "/"


urlpatterns = [
    path("", Home.as_view()),
    path("login/", Login.as_view()),
    path("logout/", Logout.as_view()),
    path("books/", BookList.as_view()),
    path("books/<int:pk>/", BookDetail.as_view()),
    path("books/named/<str:slug>/", BookDetail.as_view()),
    path("books/new/", BookCreate.as_view()),
    path("books/<int:pk>/change/", BookUpdate.as_view()),
    path("books/<int:pk>/delete/", BookDelete.as_view()),
    path("mail/", MailView.as_view()),
    path("first/", ToBook.as_view()),
    path("moved/", ToBook.as_view(url="/books/%(pk)s/", permanent=True)),
    path("plain/", Plain.as_view()),
    path("archive/", Archive.as_view()),
    path("archive/<int:year>/", Year.as_view()),
    path("archive/<int:year>/<int:month>/", Month.as_view()),
    path("archive/<int:year>/week/<int:week>/", Week.as_view()),
    path("archive/<int:year>/<int:month>/<int:day>/", Day.as_view()),
    path("archive/<int:year>/<int:month>/<int:day>/<int:pk>/", OfDate.as_view()),
]


# --- tests ------------------------------------------------------------------------------------


def prepare():
    User.objects.create_user("reader", password=PASSWORD)
    author = Author.objects.create(name="Ann")
    for n in range(1, 6):
        Book.objects.create(author=author, title=f"B{n}", published=f"200{n}-02-0{n}", price=n)


@pytest.fixture
def as_under_wsgi(flows):
    """`await as_under_wsgi(flow)`: on the loop and in no new thread."""

    async def compare(flow):
        await flows.compare(flow)
        assert flows.threads == []

    return compare


async def test_lists_have_pages(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/books/")).text == "1 of 3:B1 by Ann;B2 by Ann;"
        assert (await browser.get("/books/?page=last")).text == "3 of 3:B5 by Ann;"
        assert (await browser.get("/books/?page=4")).status == 404
        assert (await browser.get("/books/?page=x")).status == 404

    await as_under_wsgi(flow)


async def test_one_object_is_shown(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/books/2/")).text == "B2 by Ann"
        assert (await browser.get("/books/named/B3/")).text == "B3 by Ann"
        assert (await browser.get("/books/99/")).status == 404
        assert (await browser.ask("HEAD", "/books/2/")).text == ""

    await as_under_wsgi(flow)


async def test_an_object_is_created_changed_and_deleted(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/books/new/")).location == "/login/?next=/books/new/"
        wrong = await browser.submit("/login/", {"username": "reader", "password": "wrong"})
        assert "Please enter a correct username" in wrong.text
        await browser.submit("/login/", {"username": "reader", "password": PASSWORD})
        assert (await browser.get("/")).text == "reader has books"

        data = {"title": "New", "author": "1", "published": "2010-01-01", "price": "1.50"}
        assert (await browser.post("/books/new/", data)).status == 403  # no token
        wrong = await browser.submit("/books/new/", {**data, "author": "99"})
        assert "Select a valid choice" in wrong.text
        assert (await browser.submit("/books/new/", data)).location == "/books/"
        assert (await browser.get("/books/")).text.startswith("New is saved.|1 of 3:")
        await browser.submit("/books/6/change/", {**data, "title": "Newer"})
        assert (await browser.get("/books/6/")).text == "Newer by Ann"
        assert "Delete Newer?" in (await browser.get("/books/6/delete/")).text
        assert (await browser.submit("/books/6/delete/", {})).location == "/books/"
        assert (await browser.get("/books/6/")).status == 404
        left = await browser.submit("/mail/", {}, to="/logout/")
        assert left.location == "/"
        assert (await browser.get("/")).text == " has books"

    await as_under_wsgi(flow)


async def test_a_form_says_what_is_wrong_and_goes_on(as_under_wsgi):
    async def flow(browser):
        wrong = await browser.submit("/mail/", {"address": "nobody", "author": "1"})
        assert "Enter a valid email address" in wrong.text
        sent = await browser.submit("/mail/", {"address": "a@example.org", "author": "1"})
        assert sent.location == "/books/"
        assert (await browser.get("/books/")).text.startswith("Mail to Ann|1 of 3:")

    await as_under_wsgi(flow)


async def test_redirects_go_on(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/first/")).location == "/books/1/"
        moved = await browser.get("/moved/?page=2")
        assert (moved.status, moved.location) == (301, "/books/1/?page=2")

    await as_under_wsgi(flow)


async def test_methods_are_told_and_refused(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/plain/")).text == "1"
        assert (await browser.ask("HEAD", "/plain/")).headers["allow"] == "1"
        assert (await browser.ask("OPTIONS", "/plain/")).headers[
            "allow"
        ] == "GET, HEAD, OPTIONS"
        assert (await browser.ask("PUT", "/plain/", b"x")).status in (403, 405)

    await as_under_wsgi(flow)


async def test_archives_go_by_date(as_under_wsgi):
    async def flow(browser):
        assert (await browser.get("/archive/")).text.startswith("2005-01-01 2004-01-01 ")
        assert (await browser.get("/archive/2003/")).text == "2003-02-01 B3 by Ann;"
        assert (await browser.get("/archive/2003/2/")).text == "2003-02-03 B3 by Ann;"
        assert (await browser.get("/archive/2003/week/5/")).text == "B3 by Ann;"
        assert (await browser.get("/archive/2003/2/3/")).text == "B3 by Ann;"
        assert (await browser.get("/archive/2003/2/3/3/")).text == "B3 by Ann"
        for none in ("2003/2/3/2/", "2003/13/", "2003/2/30/", "1999/2/"):
            assert (await browser.get(f"/archive/{none}")).status == 404

    await as_under_wsgi(flow)


async def test_without_the_setting_they_are_in_threads(flows):
    await flows.on_loop(lambda browser: browser.get("/books/"), places=[])
    assert where_views_ran() == {"thread"}
