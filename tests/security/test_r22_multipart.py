"""R22, its second half: forms, whole and damaged, are what they are under WSGI (hypothesis).

The full figure is 20,000 bodies; the short form takes 250. Each comes whole, in pieces, and in
chunks without a length, to a view that is async, in a thread or on the loop. Status and fields
are those that Django's own parser makes of it under WSGI, and no file is left.
"""

from __future__ import annotations

import gc
import hashlib
import io
import logging
import sys
import warnings
from functools import partial

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.test import override_settings
from django.urls import path
from hypothesis import strategies as st

import onloop
from onloop.asgi.handler import OnloopHandler
from onloop.asgi.incoming import Incoming
from onloop.asgi.request import OnloopRequest
from tests.reliability.findings import Findings, Found
from tests.reliability.scale import LONG_S, size
from tests.security import multiparts
from tests.security.fuzz import Played, search
from tests.security.scopes import BASE, in_pieces

pytestmark = [
    pytest.mark.timeout(LONG_S),
    # Files that Django's own parser, the oracle, leaves to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:.*(FileIO|FileCloser):pytest.PytestUnraisableExceptionWarning"
    ),
]

EXAMPLES = size(250, full=20_000)
FEW = 100  # for a planted fault


def tell(request):
    """The fields, the files in their order, and what the parser knows of them."""
    return JsonResponse({
        "fields": list(request.POST.lists()),
        "files": [[name, list(map(about, some))] for name, some in request.FILES.lists()],
        "encoding": request.encoding,
    })  # fmt: skip


def about(file):
    return [
        file.name, file.size, hashlib.sha256(file.read()).hexdigest(), file.content_type,
        file.charset, sorted((file.content_type_extra or {}).items(), key=repr),
    ]  # fmt: skip


async def tell_async(request):
    await request.afiles()
    return tell(request)


urlpatterns = [
    path("async/", tell_async),
    path("thread/", tell),
    path("loop/", onloop.on_loop(partial(tell))),
]


@pytest.fixture
def search_forms(uploads):
    """`search_forms()`: run, see to the files that are left, judge."""
    logging.disable(logging.CRITICAL)
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        DATA_UPLOAD_MAX_MEMORY_SIZE=1_000,
        DATA_UPLOAD_MAX_NUMBER_FIELDS=5,
        DATA_UPLOAD_MAX_NUMBER_FILES=3,
        FILE_UPLOAD_MAX_MEMORY_SIZE=600,
    ):

        def run(examples=EXAMPLES, *, shrink=True):
            findings = Findings("R22, forms")
            forms = Forms(findings, uploads)
            search(
                findings, forms.check,
                multiparts.kinds, multiparts.bodies, ADDRESSES, multiparts.cuts, st.booleans(),
                examples=examples, before=forms.under_wsgi, shrink=shrink,
            )  # fmt: skip
            findings.judge()
            return findings

        yield run
    logging.disable(logging.NOTSET)
    clear(uploads)


ADDRESSES = st.sampled_from(["/async/", "/thread/", "/loop/"])


def clear(folder):
    files = list(folder.iterdir())
    if files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # whose files these are removes them, if nobody else has
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


class Forms:
    def __init__(self, findings, folder):
        self.ours, self.djangos = OnloopHandler(), WSGIHandler()
        self.findings = findings
        self.folder = folder

    def under_wsgi(self, kind, body, *rest):
        """Django's answer: its status and its content, or what it raised."""
        answer = []
        environ = {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/thread/",
            "QUERY_STRING": "", "SERVER_NAME": "testserver", "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1", "CONTENT_TYPE": kind.decode("latin-1"),
            "CONTENT_LENGTH": str(len(body)), "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        }  # fmt: skip
        try:
            response = self.djangos(environ, lambda status, _: answer.append(status[:3]))
            answer.append(b"".join(response))
            response.close()
        except Exception as exc:  # noqa: BLE001 - what Content-Type can make it raise
            return [repr(exc)]
        finally:
            self.left()  # Django's own parser leaves files to the garbage collector
        return [int(answer[0]), answer[1]]

    def left(self):
        """Tell how many files are left, and be rid of them."""
        return clear(self.folder)

    async def check(self, kind, body, address, cuts, chunked, djangos):
        framing = (
            (b"transfer-encoding", b"chunked")
            if chunked
            else (b"content-length", str(len(body)).encode())
        )
        scope = {**BASE, "path": address}
        scope["headers"] = [*BASE["headers"], framing, (b"content-type", kind)]
        messages = in_pieces(body, [cut for cut in cuts if cut <= len(body)])
        ours = await Played(self.ours, scope, messages).run()
        faults = list(ours.faults)
        if ours.raised is not None:
            faults.append(f"exception: {ours.raised!r}")
        elif len(djangos) == 1:
            self.findings.counts["exceptions of Django's"] += 1
            if ours.status != 400:
                faults.append(f"not 400: {ours.status}, where Django raises {djangos[0]}")
        else:
            self.findings.counts[f"status {ours.status}"] += 1
            content = djangos[1] if djangos[0] == 200 else ours.content
            if [ours.status, ours.content] != [djangos[0], content]:
                faults.append(
                    f"another form: {ours.status} {ours.content!r}, Django's is "
                    f"{djangos[0]} {djangos[1]!r}"
                )
        if left := self.left():
            faults.append(f"file left: {left}")
        if b'"files": [["' in ours.content:
            self.findings.counts["with files"] += 1
        return faults


def test_any_form_is_the_one_that_it_is_under_wsgi(search_forms):
    findings = search_forms()
    assert findings.counts["status 200"] > EXAMPLES // 4
    assert findings.counts["status 400"] > EXAMPLES // 20
    assert findings.counts["with files"] > EXAMPLES // 20


# --- the harness finds what is broken on purpose ----------------------------------------------


def found_by(search_forms):
    with pytest.raises(Found) as caught:
        search_forms(FEW, shrink=False)
    return set(caught.value.kinds)


def test_a_piece_that_comes_twice_is_found(search_forms, monkeypatch):
    keep = Incoming._keep

    def twice(self, piece):
        return keep(self, piece[: len(piece) // 2 + 1]) and keep(self, piece[len(piece) // 2 :])

    monkeypatch.setattr(Incoming, "_keep", twice)
    assert "another form" in found_by(search_forms)


def test_a_parser_that_has_another_length_is_found(search_forms, monkeypatch):
    monkeypatch.setattr(OnloopRequest, "_length_at_most", lambda self: 0)
    assert "another form" in found_by(search_forms)


def test_an_upload_that_is_not_closed_is_found(search_forms, monkeypatch):
    monkeypatch.setattr("onloop.asgi.request._do_all", lambda steps: None)
    monkeypatch.setattr(OnloopRequest, "close", lambda self: None)
    assert "file left" in found_by(search_forms)
