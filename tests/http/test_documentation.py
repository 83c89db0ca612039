"""The examples of `docs/http.md`, run as they stand there."""

from __future__ import annotations

import asyncio
import re
import types
from dataclasses import fields

import httpx
import pytest

from onloop.conf import HttpSettings
from tests.postgres import ROOT

TEXT = (ROOT / "docs" / "http.md").read_text()

pytestmark = pytest.mark.usefixtures("closing", "configure")


def _page():
    """The names that the page's examples define."""
    page = types.SimpleNamespace(httpx=httpx)
    for block in re.finditer(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        # Services of the page are our own server.
        code = re.sub(r'"https://\w+\.internal', '"{upstream.url}', block[1])
        empty = "\n" * TEXT.count("\n", 0, block.start(1))
        exec(compile(empty + code, "docs/http.md", "exec"), vars(page))
    return page


page = _page()


@pytest.fixture(autouse=True)
def _upstream(upstream):
    page.upstream = upstream


async def test_a_status_that_is_an_error_is_raised(upstream):
    book = types.SimpleNamespace(isbn="told/price")
    assert await page.price(book) == 1.5
    book.isbn = "status/404"
    with pytest.raises(httpx.HTTPStatusError):
        await page.price(book)


async def test_plain_code_asks(no_portal):
    assert await asyncio.to_thread(page.rate, "told/rate") == 1.5


async def test_panels_are_values_and_errors(upstream):
    told, failed = await page.panels([f"{upstream.url}/echo", f"{upstream.url}/status/500"])
    assert told["method"] == "GET"
    assert "500" in failed["error"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/", "Not there: 127.0.0.1 is not a public target"),
        ("http://nowhere.invalid/", "It does not answer."),
        ("http://[", "It does not answer."),
    ],
)
async def test_a_preview_says_what_happened(url, says):
    assert (await page.preview(url)).startswith(says)


@pytest.mark.parametrize("charset", ["utf-8", "hex", "rot13", "undefined", "utf-16"])
async def test_a_preview_does_not_believe_the_charset(upstream, configure, charset):
    configure(PUBLIC_ALLOW=["127.0.0.1/32"], PUBLIC_PORTS=[upstream.port])
    assert await page.preview(f"{upstream.url}/charset/{charset}") == "odd"


def test_every_setting_is_in_the_table_with_its_default():
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", TEXT, re.MULTILINE)
    told = {
        name: value
        for names, values in rows
        for name, value in zip(
            re.findall(r"`([A-Z_]+)`", names),
            [values] if names.count("`") == 2 else values.split(", "),
            strict=True,
        )
    }
    for field in fields(HttpSettings):
        value = told.pop(field.name).strip().strip("`")
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        number = re.match(r"[\d.]+", value)
        assert value == str(default) or (number and float(number[0]) == default), field.name
    assert told == {}
