"""The request header `Range` (RFC 9110, section 14): which bytes are asked for."""

from __future__ import annotations

import re

# More in one request are nothing that a client needs: the header is ignored then, as section
# 14.2 suggests for what may be an attack.
MAX_RANGES = 16
# Of the header. A number of more digits than a file has bytes is one that is not read.
MAX_LENGTH = 1024

_UNIT = re.compile(r"bytes[ \t]*=", re.IGNORECASE)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def parse(header: str, size: int) -> list[tuple[int, int]] | None:
    """Return the ranges that a header asks for, as (first byte, number of bytes).

    They are in the header's order, those beyond the end left out; empty if that is all of them,
    which means 416. None where the header is to be ignored and everything is to be sent: it is
    malformed, of another unit, has too many ranges, or asks for more than there is.
    """
    unit = _UNIT.match(header)
    if unit is None or len(header) > MAX_LENGTH:
        return None
    # A list may have empty elements (section 5.6.1.2).
    specs = [spec for part in header[unit.end() :].split(",") if (spec := part.strip(" \t"))]
    if not 0 < len(specs) <= MAX_RANGES:
        return None
    ranges = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or not any(match.groups()):
            return None
        first, last = (int(number) if number else None for number in match.groups())
        if first is not None and last is not None and last < first:
            return None
        if (found := _within(first, last, size)) is not None:
            ranges.append(found)
    if sum(length for _, length in ranges) > size:
        return None  # they overlap: the whole is less
    if not size and ranges:
        return None  # the last bytes of an empty file: no Content-Range can say that
    return ranges


def _within(first: int | None, last: int | None, size: int) -> tuple[int, int] | None:
    """Return one range as far as it is there; None if it is not."""
    if first is None:  # the last bytes
        assert last is not None
        length = min(last, size)
        return (size - length, length) if last else None
    if first >= size:
        return None
    end = size if last is None else min(last + 1, size)
    return first, end - first


def content_range(first: int, length: int, size: int) -> str:
    """Return the value of a `Content-Range` header."""
    return f"bytes {first}-{first + length - 1}/{size}"
