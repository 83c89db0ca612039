"""Addresses that httpx cannot read are errors of httpx; for some it raises `UnicodeError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from idna import IDNAError


@contextmanager
def given(url: httpx.URL | str) -> Iterator[None]:
    """Around what builds a request to `url`. Raises `httpx.InvalidURL`."""
    try:
        yield
    except UnicodeError as exc:  # a lone surrogate, or a name such as "xn--a"
        try:
            httpx.URL(url).host  # noqa: B018 - whether it is the address
        except UnicodeError:
            raise httpx.InvalidURL(f"The address cannot be read: {exc}") from exc
        raise


@contextmanager
def redirected(request: httpx.Request) -> Iterator[None]:
    """Around what follows redirects. Raises `httpx.RemoteProtocolError`, as httpx does."""
    try:
        yield
    except IDNAError as exc:
        raise httpx.RemoteProtocolError(
            f"Invalid URL in location header: {exc}.", request=request
        ) from exc
