"""The `Range` header, against a reading of it that goes byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onloop.files import ranges

sizes = st.integers(0, 40)
numbers = st.integers(0, 50)
specs = st.one_of(
    st.tuples(numbers, numbers),
    st.tuples(numbers, st.none()),
    st.tuples(st.none(), numbers),
)
blank = st.sampled_from(["", " ", "\t", "  "])


def text_of(spec):
    first, last = spec
    return f"{'' if first is None else first}-{'' if last is None else last}"


def bytes_of(spec, size):
    """The bytes that one range means, looked at one by one."""
    first, last = spec
    if first is None:
        return [byte for byte in range(size) if byte >= size - last]
    return [byte for byte in range(size) if byte >= first and (last is None or byte <= last)]


def is_valid(spec):
    first, last = spec
    return first is None or last is None or first <= last


@given(st.lists(specs, min_size=1, max_size=5), sizes, blank, blank)
def test_ranges_are_those_of_a_slow_reading(wanted, size, before, after):
    header = "bytes=" + ",".join(before + text_of(spec) + after for spec in wanted)
    found = ranges.parse(header, size)
    expected = [meant for spec in wanted if (meant := bytes_of(spec, size))]
    if not all(map(is_valid, wanted)) or sum(map(len, expected)) > size:
        assert found is None
    elif not size and any(first is None and last for first, last in wanted):
        assert found is None  # satisfiable, yet there is nothing to send
    else:
        assert found is not None
        assert [list(range(first, first + length)) for first, length in found] == expected


@given(st.text(), sizes)
def test_any_header_is_ignored_or_within_the_file(header, size):
    for text in (header, f"bytes={header}"):
        for first, length in ranges.parse(text, size) or []:
            assert 0 <= first < first + length <= size


@given(st.text(alphabet="0123456789-, =bytes\t", max_size=20), sizes)
def test_what_looks_like_a_header_is_within_the_file(header, size):
    for first, length in ranges.parse(f"bytes={header}", size) or []:
        assert 0 <= first < first + length <= size


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=--1", "bytes=1", "bytes=a-b",
        "bytes=2-1", "bytes=0-1,2-1", "bytes=0-0;1-1", "bytes=+1-2", "bytes=0x1-2",
        "bytes=1_0-20", "bytes=\uff11-\uff12", "bytes=1 - 2", "items=0-1", "=0-1", "0-1",
        "bytes:0-1", "bytes=0-1,x",
        "bytes=" + "9" * 2000 + "-", "bytes=" + ",".join(["0-0"] * 17),
    ],
)  # fmt: skip
def test_what_is_malformed_of_another_unit_or_too_much_is_ignored(header):
    assert ranges.parse(header, 100) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("BYTES=0-", [(0, 10)]),
        ("bytes=-3", [(7, 3)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=5-500", [(5, 5)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=10-,-0", []),
        ("bytes=,0-0,,1-1,", [(0, 1), (1, 1)]),
        ("bytes=9-9,0-0,20-", [(9, 1), (0, 1)]),
        ("bytes=0-9,0-0", None),
        ("bytes=0-99999999999999999999", [(0, 10)]),
    ],
)
def test_examples(header, expected):
    assert ranges.parse(header, 10) == expected


def test_content_range():
    assert ranges.content_range(0, 5, 10) == "bytes 0-4/10"
