"""Forms and their files: read from any pieces, and nothing is left of what breaks off."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpResponse, JsonResponse
from django.urls import path

import onloop
from tests.asgi.client import DEADLINE_S

seen: list[object] = []
entered: asyncio.Event


@pytest.fixture(autouse=True)
async def _fresh():
    global entered  # noqa: PLW0603 - views are functions of the module
    seen.clear()
    entered = asyncio.Event()


@pytest.fixture
def project(bare_project):
    bare_project.configure(MIDDLEWARE=[], DATA_UPLOAD_MAX_MEMORY_SIZE=None)
    return bare_project


# --- views ------------------------------------------------------------------------------------


async def form(request):
    files = await request.afiles()
    post = await request.apost()
    assert (post, files) == (request.POST, request.FILES)
    return JsonResponse({
        "post": post.dict(),
        "files": {
            name: [type(f).__name__, f.name, hashlib.sha256(f.read()).hexdigest()]
            for name, f in files.items()
        },
    })  # fmt: skip


async def form_at_once(request):
    post, files = await asyncio.gather(request.apost(), request.afiles())
    assert (post, files) == (request.POST, request.FILES)
    return await form(request)


class Interrupted(TemporaryFileUploadHandler):
    """Tells of each file's place, and of what was interrupted."""

    def new_file(self, *args, **kwargs):
        super().new_file(*args, **kwargs)
        seen.append(self.file.temporary_file_path())

    def receive_data_chunk(self, raw_data, start):
        super().receive_data_chunk(raw_data, start)
        entered.set()

    def upload_interrupted(self):
        seen.append("interrupted")
        super().upload_interrupted()


def upload(request):
    request.upload_handlers = [Interrupted(request)]
    files = request.FILES
    return HttpResponse(str(len(files)))


async def upload_in_async_view(request):
    return upload(request)


async def upload_asked_for_twice_at_once(request, post=None):
    # A group, since it ends with the last of its tasks.
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(upload_in_async_view(request))
        group.create_task(request.apost() if post is None else post())
    return answer.result()


async def upload_asked_for_by_a_thread_too(request):
    return await upload_asked_for_twice_at_once(request, sync_to_async(lambda: request.POST))


urlpatterns = [
    path("form/", form),
    path("form-at-once/", form_at_once),
    path("upload-in-thread/", upload),
    path("upload-on-loop/", onloop.on_loop(partial(upload))),
    path("upload-in-async-view/", upload_in_async_view),
    path("upload-twice-at-once/", upload_asked_for_twice_at_once),
    path("upload-by-a-thread-too/", upload_asked_for_by_a_thread_too),
]


# --- what is sent -----------------------------------------------------------------------------


def multipart(*parts):
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name, b'; filename="%s"' % filename if filename else b"", content)
        for name, filename, content in parts
    )
    return body + b"--b--\r\n"


def post_form(project, body, path="/form/", chunked=False, **kwargs):
    headers = [("content-type", "multipart/form-data; boundary=b")]
    if chunked:
        headers.append(("transfer-encoding", "chunked"))
    exchange = project.post(path, body, headers=headers, **kwargs)
    if chunked:
        exchange.scope["headers"] = [
            pair for pair in exchange.scope["headers"] if pair[0] != b"content-length"
        ]
    return exchange


CONTENT = bytes(range(256)) * 300
BODY = multipart((b"title", b"", b"One"), (b"cover", b"c.png", CONTENT))


@pytest.mark.parametrize("where", ["/form/", "/form-at-once/"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [10, 7_000, 200_000])
async def test_fields_and_files_are_read_from_any_pieces(project, size, chunked, where):
    pieces = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    answer = await post_form(project, pieces, path=where, chunked=chunked)
    kind = "TemporaryUploadedFile" if chunked and len(pieces) > 1 else "InMemoryUploadedFile"
    assert answer.json() == {
        "post": {"title": "One"},
        "files": {"cover": [kind, "c.png", hashlib.sha256(CONTENT).hexdigest()]},
    }


async def test_a_plain_form_can_be_asked_for_twice_at_once(project):
    kind = [("content-type", "application/x-www-form-urlencoded")]
    answer = await project.post("/form-at-once/", [b"title=", b"One"], headers=kind)
    assert answer.json() == {"post": {"title": "One"}, "files": {}}


UPLOADS = ["in-thread", "on-loop", "in-async-view", "twice-at-once", "by-a-thread-too"]


@pytest.fixture
def temp_folder(project, tmp_path):
    project.configure(FILE_UPLOAD_TEMP_DIR=str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("where", UPLOADS)
async def test_files_are_gone_after_the_request(project, temp_folder, where):
    answer = await post_form(project, [BODY[:9_000], BODY[9_000:]], f"/upload-{where}/")
    assert answer.text == "1"
    assert list(temp_folder.iterdir()) == []


@pytest.mark.parametrize("where", UPLOADS)
async def test_a_client_that_leaves_its_upload_leaves_no_file(project, temp_folder, where):
    exchange = post_form(
        project, multipart((b"a", b"a", b"x" * 70_000))[:-9] + BODY[:9_000],
        f"/upload-{where}/", more_body=True,
    )  # fmt: skip
    exchange.start()
    await asyncio.to_thread(_wait_for, entered, asyncio.get_running_loop())
    assert len(list(temp_folder.iterdir())) >= 1
    exchange.leave()
    await exchange
    assert seen[-1] == "interrupted"
    assert list(temp_folder.iterdir()) == []


@pytest.mark.parametrize("where", UPLOADS)
async def test_a_cancelled_upload_leaves_no_file(project, temp_folder, where):
    exchange = post_form(project, BODY[:70_000], f"/upload-{where}/", more_body=True)
    exchange.start()
    await asyncio.to_thread(_wait_for, entered, asyncio.get_running_loop())
    exchange.task.cancel()
    await asyncio.sleep(0)
    exchange.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert list(temp_folder.iterdir()) == []


def _wait_for(event, loop):
    assert asyncio.run_coroutine_threadsafe(event.wait(), loop).result(DEADLINE_S)


async def test_a_malformed_upload_leaves_no_file(project, temp_folder):
    body = BODY[:-12] + b"\r\n--b\r\nContent-Disposition: form-data; name=x; filename=y\r\n"
    body += b"Content-Transfer-Encoding: base64\r\n\r\nabcde\r\n--b--\r\n"
    answer = await post_form(project, [body[:9_000], body[9_000:]], "/upload-on-loop/")
    assert answer.status == 400
    assert list(temp_folder.iterdir()) == []
    assert threading.active_count() < 20
