"""``manage.py test``: what the panels make of answers, good and bad; no server is needed."""

import copy
import json
import os
from datetime import UTC, datetime, timedelta
from unittest import mock

import httpx
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase

from onloop import http
from panels import made_up, services
from panels.problems import NoAddress, Nonsense, in_words
from panels.readings import Reading, parse
from workspace import environment

BEGAN = datetime(2026, 3, 28, tzinfo=UTC)
WRONG = [
    None, True, "", " ", "x" * 1000, "two\nlines", -1, 1e9 + 1, float("nan"), float("inf"),
    10**400, [], {}, [[]], {"x": 1},
]  # fmt: skip


def sources() -> list[tuple[services.Source, made_up.Answer]]:
    return [(source, made_up.SERVICES[source.name](BEGAN)) for source in services.SOURCES]


def places(data, path=()):
    """The path of everything in ``data``, itself too."""
    yield path
    pairs = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else []
    )
    for key, value in pairs:
        yield from places(value, (*path, key))


def replaced(data, path, value):
    if not path:
        return value
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return data


class ReadingTests(SimpleTestCase):
    def test_all_that_the_demo_makes_up_can_be_read(self) -> None:
        for minutes in range(0, 3 * 1440, 7):
            now = BEGAN + timedelta(minutes=minutes)
            for source in services.SOURCES:
                answer = made_up.SERVICES[source.name](now)
                if answer.status == 200 and isinstance(answer.body, dict):
                    reading = source.read(parse(json.dumps(answer.body).encode()))
                    assert reading.headline

    def test_the_news_fail_a_quarter_of_the_time_in_three_ways(self) -> None:
        answers = [made_up.news(BEGAN + timedelta(seconds=second)) for second in range(120)]
        good = [a for a in answers if isinstance(a.body, dict) and "items" in a.body]
        assert len(good) == 90
        assert sum(answer.status == 503 for answer in answers) == 10
        assert sum(answer.after_s is None for answer in answers) == 10
        assert sum(isinstance(answer.body, bytes) for answer in answers) == 10

    def test_whatever_stands_anywhere_is_read_or_is_nonsense(self) -> None:
        refused = 0
        for source, answer in sources():
            for path in places(answer.body):
                for wrong in WRONG:
                    try:
                        reading = source.read(replaced(answer.body, path, wrong))
                    except Nonsense:
                        refused += 1
                    else:
                        assert isinstance(reading, Reading)
                        assert "nan" not in reading.headline
        assert refused > 300

    def test_no_news_are_news(self) -> None:
        assert services.SOURCES[2].read({"items": []}) == Reading("Nothing new", [])


class WordsTests(SimpleTestCase):
    def test_there_are_words_for_every_error_of_a_service(self) -> None:
        answer = httpx.Response(502, request=httpx.Request("GET", "http://secret.example"))
        errors = [
            NoAddress(),
            Nonsense(),
            http.DeadlineExceeded("http://secret.example"),
            http.TooManyWaiters("http://secret.example"),
            http.CircuitOpen("secret.example", 3.0, "failed 10 times in a row"),
            httpx.HTTPStatusError("", request=answer.request, response=answer),
            *(
                kind("http://secret.example")
                for kind in (
                    httpx.ConnectError,
                    httpx.ConnectTimeout,
                    httpx.DecodingError,
                    httpx.PoolTimeout,
                    httpx.ReadError,
                    httpx.ReadTimeout,
                    httpx.RemoteProtocolError,
                    httpx.TooManyRedirects,
                    httpx.WriteError,
                )
            ),
        ]
        for error in errors:
            words = in_words(error, 2.5)
            assert words is not None, error
            assert words.endswith("."), error
            assert "secret" not in words

    def test_a_mistake_of_our_own_is_not_blamed_on_the_service(self) -> None:
        assert in_words(KeyError("weather"), 2.5) is None


class EnvironmentTests(SimpleTestCase):
    def test_addresses(self) -> None:
        for text in ("http://127.0.0.1:81/x?key=%20", "https://[::1]/", "https://a.example"):
            with mock.patch.dict(os.environ, {"NEWS_URL": text}):
                assert environment.address("NEWS_URL") == text
        with mock.patch.dict(os.environ, {"NEWS_URL": " "}):
            assert environment.address("NEWS_URL") is None
        for text in (
            "secret", "ftp://secret/", "http://", "http://secret:x/", "http://secret:99999/",
            "http://[secret/", "http://sec ret/", "http://secrét/", "//secret/",
        ):  # fmt: skip
            with (
                self.subTest(text),
                mock.patch.dict(os.environ, {"NEWS_URL": text}),
                self.assertRaisesMessage(ImproperlyConfigured, "NEWS_URL must be") as caught,
            ):
                environment.address("NEWS_URL")
            assert "secr" not in str(caught.exception)

    def test_seconds(self) -> None:
        for text, seconds in (("", 2.5), ("4", 4.0), (" 0.25 ", 0.25)):
            with mock.patch.dict(os.environ, {"WAIT": text}):
                assert environment.seconds("WAIT", default=2.5) == seconds
        for text in ("0", "-1", "nan", "inf", "1e3", "two", "0.0", "99999", "٣"):
            with (
                self.subTest(text),
                mock.patch.dict(os.environ, {"WAIT": text}),
                self.assertRaisesMessage(ImproperlyConfigured, "WAIT must be"),
            ):
                environment.seconds("WAIT", default=2.5)
