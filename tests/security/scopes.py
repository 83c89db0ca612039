"""Strategies: scopes and messages of HTTP requests, allowed by ASGI and forbidden."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

BASE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/body/",
    "headers": [(b"host", b"testserver")],
}

PATHS = [
    "/nothing/", "/body/", "/pieces/", "/thread/", "/form/", "/late/", "/", "", "*", "body",
    "//", "/\x00", "/\udcff", "/\ufffd", "/body", "http://testserver/body/", "/body/../x",
    "/body/\r\nX-Evil: 1", "/ü/", "/%ff", "/" + "a" * 3_000,
]  # fmt: skip
LENGTHS = [
    b"",
    b"0",
    b"1",
    b"3",
    b"8",
    b"-1",
    b"9" * 5_000,
    b"x",
    b"1, 1",
    b"\xb2",
    b" 1",
    b"1.0",
]
KINDS = [
    b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b", b"; =;=",
    b"multipart/form-data", b"text/plain; charset=nonsense", b"text/plain; charset*=no-such''x",
    b"a;" * 6_000, b"text/plain; charset=\0", b"text/plain; x*0*=a''%ff; x*2=b", b"",
    b"text/plain; charset=idna", b"application/x-www-form-urlencoded; charset=utf-7",
    b"\xff;\xff",
]  # fmt: skip
NAMES = [
    b"host", b"cookie", b"expect", b"authorization", b"accept", b"accept-language", b"origin",
    b"x-forwarded-host", b"x-forwarded-proto", b"referer", b"range", b"if-none-match",
    b"x_under", b"", b"\xff", b"x-odd", b"content-encoding",
]  # fmt: skip
VALUES = [
    b"", b"testserver", b"nobody.example", b"a b", b"[::1", b"0", b"a=1; b=\xff; ;=;",
    b"Bearer", b"Bearer x", b"Basic \xff", b"null", b"http://[", b"bytes=0-0,-1", b'"',
    b"\xff\xfe", b"*", b"de-" + b"x" * 600, b"a\r\nb",
]  # fmt: skip
BODIES = [
    b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--",
    b"a=1&b=%ff", b"x", b"",
]  # fmt: skip

_anything: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(), st.booleans(), st.text(max_size=3), st.just([None])
)
_header = st.one_of(
    st.tuples(st.just(b"content-type"), st.sampled_from(KINDS)),
    st.tuples(st.just(b"content-length"), st.sampled_from(LENGTHS)),
    st.tuples(st.just(b"transfer-encoding"), st.sampled_from([b"chunked", b"identity", b""])),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
    st.tuples(st.sampled_from(NAMES), st.binary(max_size=10)),
    st.tuples(st.binary(max_size=5), st.binary(max_size=10)),
)
_headers = st.builds(
    lambda host, some, many, count: [*host, *some, *[many] * count],
    st.sampled_from([[], BASE["headers"], BASE["headers"], BASE["headers"]]),
    st.lists(_header, max_size=3),
    _header,
    st.sampled_from([0, 0, 0, 1, 2, 300]),
)


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, Any]:
    """Any scope of a request that the specification allows, or that servers are known for."""
    more = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "asgi": st.sampled_from([{}, {"version": "3.0"}, {"version": "2.0"}]),
                "http_version": st.sampled_from(["1.0", "1.1", "2", "3", ""]),
                "method": st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "put", ""])
                | st.text(max_size=5),
                "path": st.sampled_from(PATHS) | st.text(max_size=10).map("/".__add__),
                "raw_path": st.none() | st.binary(max_size=10),
                "query_string": st.sampled_from([b"", b"a=1&a=2", b"&&=", b"%00=%ff"])
                | st.binary(max_size=10),
                "root_path": st.sampled_from(["", "/", "/body", "app", None])
                | st.text(max_size=4),
                "scheme": st.sampled_from(["http", "https", "", "gopher", None]),
                "client": st.sampled_from([None, ("::1", 0), ["1.2.3.4", 5], ("", None)]),
                "server": st.sampled_from([None, ("testserver", 80), ["/run/sock", None]]),
                "state": st.just({}),
                "extensions": st.just({}),
            },
        )
    )
    scope = {**BASE, **more, "headers": draw(_headers)}
    if missing := draw(st.sampled_from([None, None, None, "http_version", "headers"])):
        del scope[missing]
    return scope


@st.composite
def framed(draw: st.DrawFn) -> dict[str, Any]:
    """An ordinary scope, of whose body's length anything is said."""
    framing = st.one_of(
        st.tuples(st.just(b"content-length"), st.sampled_from(LENGTHS[1:5])),
        st.tuples(st.just(b"content-length"), st.sampled_from(LENGTHS)),
        st.tuples(st.just(b"transfer-encoding"), st.sampled_from([b"chunked", b""])),
    )
    path = st.sampled_from([*PATHS[1:6], "/form/", "/form/"])
    headers = [
        BASE["headers"][0],
        (b"content-type", draw(st.sampled_from([*KINDS[:2], KINDS[1]]))),
        *draw(st.lists(framing, max_size=2)),
    ]
    return {**BASE, "path": draw(path), "headers": headers}


@st.composite
def forbidden_scopes(draw: st.DrawFn) -> dict[str, Any]:
    """A scope in which something is of a wrong type, or a required key is not there."""
    scope: dict[str, Any] = {**BASE, **draw(st.fixed_dictionaries({}, optional={
        "client": st.just(("::1", 0)), "server": st.just(("testserver", 80)),
    }))}  # fmt: skip
    wrong: dict[str, st.SearchStrategy[Any]] = {
        "method": st.sampled_from([None, 1, b"GET"]),
        "path": st.sampled_from([None, 1, b"/body/"]),
        "query_string": st.sampled_from([None, 1, ["a"]]),
        "root_path": st.sampled_from([1, b"/app"]),
        "headers": st.sampled_from(
            [None, 1, [1], [("host", "testserver")], [(b"host",)], [(b"host", None)], ["ab"]]
        ),
        "client": st.sampled_from([1, ("::1",), "::1"]),
        "server": st.sampled_from([1, ("testserver",)]),
    }
    name = draw(st.sampled_from(sorted(wrong)))
    if name in ("method", "path") and draw(st.booleans()):
        del scope[name]
    else:
        scope[name] = draw(wrong[name])
    return scope


def pieces(more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """`http.request`, with `more_body` as told."""
    return st.fixed_dictionaries(
        {"type": st.just("http.request")},
        optional={"body": st.sampled_from(BODIES) | st.binary(max_size=20), "more_body": more},
    )


@st.composite
def bodies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The messages of a whole body."""
    body = draw(st.sampled_from([*BODIES[:3], *BODIES]) | st.binary(max_size=40))
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
    return in_pieces(body, cuts)


def in_pieces(body: bytes, cuts: list[int]) -> list[dict[str, Any]]:
    """The messages that bring `body`, cut at these places."""
    parts = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
    return [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]


_malformed = st.one_of(
    _anything,
    st.builds(dict),
    st.fixed_dictionaries({"type": st.sampled_from(["http.response.body", "", None, 1, "x"])}),
    st.fixed_dictionaries({
        "type": st.just("http.request"),
        "body": st.sampled_from([None, "text", 1, [b"x"]]),
    }),
)  # fmt: skip
_any_message = st.one_of(
    pieces(st.booleans()),
    pieces(st.just(True)),
    st.just({"type": "http.disconnect"}),
    st.just({"type": "http.disconnect", "body": b"x", "more_body": True}),
    st.builds(
        lambda kind: {"type": "http.request", "body": kind(b"ab"), "more_body": True},
        st.sampled_from([bytearray, memoryview]),
    ),
    _malformed,
)
# Any messages in any order; or a whole body, and then any.
messages = st.lists(_any_message, min_size=1, max_size=6) | st.builds(
    lambda body, more: body + more, bodies(), st.lists(_any_message, max_size=2)
)
