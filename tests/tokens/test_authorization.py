"""The header Authorization: a token, nothing, or an error; never anything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onloop.middleware.authorization import MalformedHeader, bearer_token

ALLOWED = "ABCXYZabcxyz0123456789-._~+/"
tokens = st.builds(str.__add__, st.text(ALLOWED, min_size=1), st.sampled_from(["", "=", "=="]))
schemes = st.lists(st.booleans(), min_size=6, max_size=6).map(
    lambda upper: "".join(
        letter.upper() if up else letter for letter, up in zip("bearer", upper, strict=True)
    )
)


@given(schemes, st.integers(1, 3), tokens)
def test_a_token_is_read_whatever_the_case_of_the_scheme(scheme, spaces, token):
    assert bearer_token(f"{scheme}{' ' * spaces}{token}") == token
    assert bearer_token(f" {scheme} {token}\t") == token


@pytest.mark.parametrize(
    "header",
    [None, "Basic dXNlcjpwYXNz", "Token abc", "Bearers abc", "bearer-x abc", "Negotiate", "x"],
)
def test_no_header_and_other_schemes_are_none(header):
    assert bearer_token(header) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "bearer ",
        "Bearer  \t ",
        "Bearer a b",
        "Bearer a,Bearer b",
        "Bearer a, Basic b",
        "Bearer,Bearer a",
        "Bearer\ta",
        "Bearer \ta",
        "Bearer ünï",
        "Bearer \u0661\u0662",
        "Bearer a\x00b",
        "Bearer a\x00",
        "Bearer a\n",
        "Bearer \na",
        'Bearer "a"',
        "Bearer =",
        "Bearer a=b",
        "Bearer realm=x",
        "Bearer\x00a",
    ],
)
def test_a_bearer_without_one_token_is_malformed(header):
    with pytest.raises(MalformedHeader):
        bearer_token(header)


def test_a_hundred_kilobytes_are_read_too():
    assert bearer_token("Bearer " + "a" * 100_000) == "a" * 100_000
    with pytest.raises(MalformedHeader):
        bearer_token("Bearer " + "a" * 100_000 + ",")
    with pytest.raises(MalformedHeader):
        bearer_token("Bearer" + " " * 100_000)


@given(
    st.text()
    | st.builds("bearer{}".format, st.text())
    | st.builds("Bearer {}".format, st.text())
)
@example("Bearer \ud800")
def test_any_text_is_a_token_none_or_malformed(header):
    try:
        token = bearer_token(header)
    except MalformedHeader:
        assert not header.strip(" \t") or header.strip(" \t")[:6].lower() == "bearer"
        return
    if token is None:
        assert not re.match(r"[ \t]*bearer( |$)", header, re.IGNORECASE)
    else:
        assert header.strip(" \t").lower().startswith("bearer ")
        assert set(token) <= set(ALLOWED + "=") | set(map(chr, range(128)))
        assert token.isascii()
        assert token.isprintable()
        assert " " not in token
        assert "," not in token
