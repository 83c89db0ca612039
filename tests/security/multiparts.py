"""Strategies: bodies of forms by a grammar, whole and damaged, and their Content-Type."""

from __future__ import annotations

import base64

from hypothesis import strategies as st

NAMES = [
    b"a",
    b"b",
    b"",
    b"a" * 300,
    b"\xff",
    b'na"me',
    b"[]",
    b"../x",
    b"\0",
    b"a\r\nb",
    "ü".encode(),
]
FILES = [
    *NAMES,
    b"f.txt",
    b"/etc/passwd",
    b"..",
    b"C:\\x.txt",
    b"x/",
    b".",
    b"&quot;",
    b"f" * 400,
]
EXTRA = [
    b"Content-Type: text/plain", b"Content-Type: text/plain; charset=utf-16", b"Content-Type:",
    b"Content-Type: multipart/mixed; boundary=n", b"Content-Type: x; charset=no-such",
    b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: base64",
    b"content-transfer-encoding: BASE64", b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Transfer-Encoding: 8bit", b"Content-Length: 3", b"Content-Length: 99999",
    b"Content-Length: x", b"X-Pad: " + b"x" * 900, b"X-Bomb: " + b"x" * 3_000, b"nothing",
    b": empty", b"\xff\xfe: \xff", b"X-Folded: a\r\n  b", b"Content-Disposition: attachment",
    b"X:1\nY:2", b"Content-Type: a;" + b"b;" * 400,
]  # fmt: skip
CONTENTS = [
    b"", b"x", b"x" * 100, b"x" * 700, b"\r\n", b"-", b"--", b"--b", b"\r\n--", b"\r\n--bb",
    b"\r\n--b", b"\r\n--b-", b"\n--b--\n", b"\r", b"\0", "ü".encode(), b"\xff\xfe", b"=",
    b"QUJD", b"Q U\r\nJD", b"QQ==", b"QQ==QQ==", b"QUJ", b"    " * 40, b"\xff" * 8, b"%41",
    base64.b64encode(b"y" * 200), base64.encodebytes(b"z" * 200),
    b"--n\r\nContent-Disposition: file; filename=in\r\n\r\nnested\r\n--n--",
]  # fmt: skip
KINDS = [
    b"multipart/form-data; boundary=b", b"multipart/form-data; boundary=b",
    b'multipart/form-data; boundary="b"', b"Multipart/Form-Data;BOUNDARY=b",
    b"multipart/form-data; charset=utf-8; boundary=b", b"multipart/form-data; boundary=b; x",
    b"multipart/form-data; boundary=b; charset=latin-1", b"multipart/form-data; boundary*=''b",
    b"multipart/form-data; boundary=b; charset=utf-16", b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=b; charset=base64", b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"b" * 300, b"multipart/form-data; boundary=\xff",
    b"multipart/form-data; boundary=b; boundary=c", b"multipart/form-data; boundary=b ",
    b"multipart/mixed; boundary=b", b"multipart/form-data; boundary=b, b", b"text/plain",
    b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=latin-1",
    b"multipart/form-data; boundary=--b", b"multipart/form-data; boundary=\r\n", b"",
]  # fmt: skip


def _disposition(name: bytes | None, file: bytes | None, *, extended: bool) -> bytes:
    line = b"Content-Disposition: form-data"
    if name is not None:
        line += b'; name="' + name + b'"'
    if file is not None:
        quoted = b"".join(b"%%%02x" % byte for byte in file)
        line += b"; filename*=UTF-8''" + quoted if extended else b'; filename="' + file + b'"'
    return line


# Mostly in order: of a part that is not, nothing is left.
_line_end = st.sampled_from([*[b"\r\n"] * 12, b"\n", b""])
_good_disposition = st.builds(
    _disposition, st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from([None, b"f.txt", b"g"]), extended=st.booleans(),
)  # fmt: skip
_any_disposition = st.builds(
    _disposition, st.sampled_from([*NAMES, None]), st.sampled_from([None, *FILES]),
    extended=st.booleans(),
)  # fmt: skip


def _joined(
    disposition: bytes, extra: list[bytes], content: bytes, blank: bytes, end: bytes
) -> bytes:
    return b"\r\n".join([b"--b", disposition, *extra, blank + content]) + end


_good_part = st.builds(
    _joined, _good_disposition, st.just([]), st.sampled_from(CONTENTS),
    st.just(b"\r\n"), st.just(b"\r\n"),
)  # fmt: skip
_any_part = st.builds(
    _joined,
    st.one_of(_good_disposition, _any_disposition, st.just(b"X: no disposition")),
    st.lists(st.sampled_from(EXTRA), max_size=2),
    st.sampled_from(CONTENTS) | st.binary(max_size=40),
    _line_end,
    _line_end,
)
_whole = st.builds(
    lambda before, parts, end: before + b"".join(parts) + end,
    st.sampled_from([b"", b"", b"", b"\r\n", b"preamble\r\n", b"x" * 300]),
    st.lists(_good_part | _any_part, min_size=1, max_size=5),
    st.sampled_from(
        [b"--b--\r\n"] * 5 + [b"--b--", b"--b--\r\nend", b"", b"--b", b"--b--" * 3]
    ),
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    body = draw(_whole)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 60)))
        way = draw(st.sampled_from(["cut", "twice", "byte", "token", "end"]))
        if way == "cut":
            body = body[:start] + body[end:]
        elif way == "twice":
            body = body[:end] + body[start:]
        elif way == "byte":
            body = body[:start] + draw(st.binary(min_size=1, max_size=1)) + body[start + 1 :]
        elif way == "token":
            body = body[:start] + draw(st.sampled_from([*EXTRA, *CONTENTS])) + body[start:]
        else:
            body = body[:start]
    return body


_form = st.lists(
    st.sampled_from(
        [b"a=1", b"b=%ff", b"=", b"", b"a", b"x" * 400, "ü=ü".encode(), b"c=1;d=2"]
    ),
    max_size=8,
).map(b"&".join)

# Two in three by the grammar, the others damaged; and forms that are no multipart.
bodies = st.one_of(_whole, _whole, _damaged(), _damaged(), _form)
kinds = st.sampled_from([*KINDS[:1] * 20, *KINDS])
cuts = st.lists(st.integers(0, 600), max_size=5).map(sorted)
