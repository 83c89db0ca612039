"""`onloop.files.FileResponse`: ranges, conditions, and what it leaves to Django."""

from __future__ import annotations

import io
import os
import time
from email.parser import BytesParser

import pytest
from django.core.files.base import ContentFile
from django.http import FileResponse as DjangosFileResponse
from django.middleware.gzip import GZipMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.test import RequestFactory
from django.utils.http import http_date
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onloop.files import FileResponse
from tests.files.test_ranges import bytes_of, is_valid, specs, text_of

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def ask(path, method="GET", *, file=None, response=FileResponse, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = RequestFactory().generic(method, "/", headers=names)
    file = path.open("rb") if file is None else file
    answer = response(file, request=request)
    answer.body = b"".join(answer)
    answer.close()
    assert file.closed or isinstance(file, ContentFile)
    return answer


# --- whole ----------------------------------------------------------------------------------


def test_the_whole_file_has_its_validators(path):
    answer = ask(path)
    assert (answer.status_code, answer.body) == (200, CONTENT)
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["Content-Length"] == str(SIZE)
    assert answer["Last-Modified"] == http_date(1_700_000_000)
    assert answer["ETag"].startswith('"')


def test_the_etag_changes_with_time_and_size(path):
    tags = {ask(path)["ETag"]}
    os.utime(path, ns=(0, 1_700_000_000_000_000_001))
    tags.add(ask(path)["ETag"])
    with path.open("ab") as file:
        file.write(b"more")
    tags.add(ask(path)["ETag"])
    assert len(tags) == 3


def test_validators_that_are_given_are_kept(path):
    with path.open("rb") as file:
        headers = {"ETag": '"mine"', "Last-Modified": http_date(0)}
        request = RequestFactory().get("/", headers={"if-none-match": '"mine"'})
        answer = FileResponse(file, request=request, headers=headers)
        assert (answer.status_code, answer["ETag"]) == (304, '"mine"')
        answer.close()


def test_without_the_request_it_is_djangos(path):
    ours, djangos = (kind(path.open("rb")) for kind in (FileResponse, DjangosFileResponse))
    assert ours.headers == djangos.headers
    assert b"".join(ours) == b"".join(djangos) == CONTENT
    ours.close()
    djangos.close()


def test_name_and_type_are_as_django_sets_them(path):
    request = RequestFactory().get("/")
    answer = FileResponse(
        path.open("rb"), as_attachment=True, filename="a.txt", request=request
    )
    assert answer["Content-Disposition"] == 'attachment; filename="a.txt"'
    assert answer["Content-Type"] == "text/plain"
    answer.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_answered_as_django_does(path, method):
    answer = ask(path, method, range="bytes=0-0")
    assert (answer.status_code, answer.body) == (200, CONTENT)
    assert "Accept-Ranges" not in answer


def test_another_status_has_no_ranges(path):
    request = RequestFactory().get("/", headers={"range": "bytes=0-0"})
    answer = FileResponse(path.open("rb"), status=404, request=request)
    assert (answer.status_code, b"".join(answer)) == (404, CONTENT)
    answer.close()


def test_a_file_that_cannot_seek_is_sent_whole(fifo):
    fifo.write(b"content")
    fifo.close()
    request = RequestFactory().get("/", headers={"range": "bytes=0-0"})
    answer = FileResponse(fifo.file.file, request=request)
    assert (answer.status_code, b"".join(answer)) == (200, b"content")
    answer.close()


def test_an_iterator_is_sent_as_it_is():
    answer = FileResponse(iter([b"a", b"b"]), request=RequestFactory().get("/"))
    assert (answer.status_code, b"".join(answer)) == (200, b"ab")


def test_a_file_in_memory_has_ranges_and_no_validators():
    answer = ask(None, file=ContentFile(CONTENT, name="a.txt"), range="bytes=1-2")
    assert (answer.status_code, answer.body) == (206, CONTENT[1:3])
    assert "ETag" not in answer
    assert "Last-Modified" not in answer


def test_a_file_is_counted_from_where_it_stands(path):
    file = path.open("rb")
    file.seek(100)
    answer = ask(path, file=file, range="bytes=0-1")
    assert answer.body == CONTENT[100:102]
    assert answer["Content-Range"] == f"bytes 0-1/{SIZE - 100}"


def test_what_is_appended_meanwhile_is_not_sent(path):
    request = RequestFactory().get("/")
    answer = FileResponse(path.open("rb"), request=request)
    with path.open("ab") as file:
        file.write(b"more")
    assert b"".join(answer) == CONTENT
    answer.close()


def test_a_head_has_the_headers_and_reads_nothing(path):
    got, head = ask(path), ask(path, "HEAD", range="bytes=0-0")
    assert (head.status_code, head.body) == (200, b"")
    assert head.headers == got.headers


# --- ranges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "first", "length"),
    [("0-0", 0, 1), ("10-19", 10, 10), ("10000-", 10000, 240), ("-5", SIZE - 5, 5)],
)
def test_one_range(path, header, first, length):
    answer = ask(path, range=f"bytes={header}")
    assert answer.status_code == 206
    assert answer.body == CONTENT[first : first + length]
    assert answer["Content-Length"] == str(length)
    assert answer["Content-Range"] == f"bytes {first}-{first + length - 1}/{SIZE}"
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["ETag"]


@pytest.mark.parametrize("header", [f"{SIZE}-", f"{SIZE}-{SIZE + 5}", "-0", f"{SIZE}-,-0"])
def test_a_range_beyond_the_end_is_refused(path, header):
    answer = ask(path, range=f"bytes={header}")
    assert (answer.status_code, answer.body) == (416, b"")
    assert answer["Content-Range"] == f"bytes */{SIZE}"
    assert answer["Content-Length"] == "0"
    assert "Content-Disposition" not in answer


@pytest.mark.parametrize("header", ["bytes=5-1", "bytes=x", "lines=0-0", "bytes=0-,0-"])
def test_a_header_that_means_nothing_is_ignored(path, header):
    answer = ask(path, range=header)
    assert (answer.status_code, answer.body) == (200, CONTENT)
    assert "Content-Range" not in answer


@pytest.mark.parametrize(("header", "status"), [("0-", 416), ("-5", 200)])
def test_an_empty_file(tmp_path, header, status):
    path = tmp_path / "empty"
    path.touch()
    assert ask(path, range=f"bytes={header}").status_code == status


def parts_of(answer):
    message = BytesParser().parsebytes(
        f"Content-Type: {answer['Content-Type']}\r\n\r\n".encode() + answer.body
    )
    return [
        (part["Content-Range"], part["Content-Type"], part.get_payload(decode=True))
        for part in message.get_payload()
    ]


def test_several_ranges_come_as_parts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0123456789")
    answer = ask(path, range="bytes=8-,0-1,100-")
    assert answer.status_code == 206
    assert answer["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert "Content-Range" not in answer
    assert answer["Content-Length"] == str(len(answer.body))
    assert parts_of(answer) == [
        ("bytes 8-9/10", "text/plain", b"89"),
        ("bytes 0-1/10", "text/plain", b"01"),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(specs, min_size=1, max_size=4), size=st.integers(0, 40))
def test_a_client_gets_the_bytes_of_a_slow_reading(tmp_path, wanted, size):
    path = tmp_path / "slow"
    content = "".join(chr(ord("A") + n) for n in range(size)).encode()
    path.write_bytes(content)
    answer = ask(path, range="bytes=" + ",".join(map(text_of, wanted)))
    expected = [bytes(content[n] for n in bytes_of(spec, size)) for spec in wanted]
    expected = [part for part in expected if part]
    assert answer["Content-Length"] == str(len(answer.body))
    if answer.status_code == 200:
        assert answer.body == content
        assert not all(map(is_valid, wanted)) or sum(map(len, expected)) > size or not size
    elif answer.status_code == 416:
        assert expected == []
    elif len(expected) == 1:
        assert [answer.body] == expected
    else:
        assert [payload for _, _, payload in parts_of(answer)] == expected


# --- conditions -----------------------------------------------------------------------------


def test_what_the_client_has_is_not_sent_again(path):
    first = ask(path)
    for header in (
        {"if_none_match": first["ETag"]},
        {"if_modified_since": first["Last-Modified"]},
    ):
        for method in ("GET", "HEAD"):
            answer = ask(path, method, **header, range="bytes=0-0")
            assert (answer.status_code, answer.body) == (304, b"")
            assert answer["ETag"] == first["ETag"]
            assert not {"Content-Length", "Content-Type", "Content-Range"} & set(answer.headers)


@pytest.mark.parametrize(
    "header", [{"if_match": '"other"'}, {"if_unmodified_since": http_date(1_600_000_000)}]
)
def test_a_condition_that_does_not_hold_is_412(path, header):
    answer = ask(path, **header)
    assert (answer.status_code, answer.body) == (412, b"")
    assert answer["Content-Length"] == "0"


def test_conditions_that_hold_change_nothing(path):
    etag = ask(path)["ETag"]
    answer = ask(path, if_match=etag, if_none_match='"other"', range="bytes=0-0")
    assert (answer.status_code, answer.body) == (206, CONTENT[:1])


def test_if_range_sends_the_range_of_the_same_file_only(path):
    first = ask(path)
    for condition in (first["ETag"], first["Last-Modified"]):
        assert ask(path, range="bytes=0-0", if_range=condition).status_code == 206
    others = ['"other"', "W/" + first["ETag"], http_date(1_700_000_001), http_date(0), "x", '"']
    for condition in others:
        answer = ask(path, range="bytes=0-0", if_range=condition)
        assert (answer.status_code, answer.body) == (200, CONTENT)
        assert ask(path, range=f"bytes={SIZE}-", if_range=condition).status_code == 200


def test_the_date_of_a_file_that_changed_just_now_is_no_strong_validator(path):
    soon = time.time() + 100
    os.utime(path, (soon, soon))
    date = ask(path)["Last-Modified"]
    assert ask(path, range="bytes=0-0", if_range=date).status_code == 200


# --- with Django's middleware ---------------------------------------------------------------


def through(middleware, path, response, **headers):
    request = RequestFactory().get("/", headers=headers)

    file = path.open("rb")

    def view(request):
        kwargs = {"request": request} if response is FileResponse else {}
        return response(file, **kwargs)

    answer = middleware(view)(request)
    answer.body = b"".join(answer)
    answer.close()
    if response is FileResponse:
        assert file.closed
    file.close()  # a response that the middleware replaces is closed by nobody
    return answer


@pytest.mark.parametrize("response", [FileResponse, DjangosFileResponse])
def test_djangos_conditional_middleware_works_with_both(path, response):
    if response is DjangosFileResponse:

        def response(file):
            return DjangosFileResponse(file, headers={"ETag": '"mine"'})

        etag = '"mine"'
    else:
        etag = ask(path)["ETag"]
    whole = through(ConditionalGetMiddleware, path, response)
    assert (whole.status_code, whole.body) == (200, CONTENT)
    known = through(ConditionalGetMiddleware, path, response, **{"if-none-match": etag})
    assert (known.status_code, known.body) == (304, b"")


def test_the_conditional_middleware_leaves_ranges_alone(path):
    answer = through(ConditionalGetMiddleware, path, FileResponse, range="bytes=0-0")
    assert (answer.status_code, answer.body) == (206, CONTENT[:1])


def test_a_range_is_never_compressed(path):
    headers = {"range": "bytes=0-999", "accept-encoding": "gzip"}
    answer = through(GZipMiddleware, path, FileResponse, **headers)
    assert (answer.status_code, answer.body) == (206, CONTENT[:1000])
    assert answer["Content-Length"] == "1000"


def test_what_is_compressed_offers_no_ranges(path):
    import gzip

    answer = through(GZipMiddleware, path, FileResponse, **{"accept-encoding": "gzip"})
    assert gzip.decompress(answer.body) == CONTENT
    assert answer["ETag"].startswith("W/")
    assert "Accept-Ranges" not in answer


@pytest.mark.parametrize("file", [io.BytesIO, ContentFile])
def test_files_without_a_name_or_path(file):
    answer = ask(None, file=file(CONTENT), range="bytes=0-4")
    assert (answer.status_code, answer.body) == (206, CONTENT[:5])
