"""The header `Authorization: Bearer …` (RFC 6750, section 2.1), read without any Django."""

from __future__ import annotations

import re

# The scheme in upper or lower case; then the token, in the characters of RFC 6750.
_BEARER = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class MalformedHeader(ValueError):
    """The header names the scheme Bearer, or none, and has not one token."""


def bearer_token(header: str | None) -> str | None:
    """The token of the header; None where there is no header, or one of another scheme.

    Raises `MalformedHeader` if it is empty, or names the scheme and has no token, two, or one
    with characters that no token has. Two headers come as one, with a comma between.
    """
    if header is None:
        return None
    header = header.strip(" \t")
    if not header:
        raise MalformedHeader
    found = _BEARER.fullmatch(header)
    if found is None:
        # Not `Bearer,`, nor `Bearer\tx`: the scheme with something else behind it.
        if re.match(r"bearer(?![A-Za-z0-9!#$%&'*+.^_`|~-])", header, re.IGNORECASE):
            raise MalformedHeader
        return None
    token = found[1]
    if token is None or not _TOKEN.fullmatch(token):
        raise MalformedHeader
    return str(token)
