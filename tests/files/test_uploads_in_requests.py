"""Forms and bodies on their way to the disk, in requests."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage
from django.http import HttpResponse, JsonResponse
from django.test.client import MULTIPART_CONTENT
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from onloop import files
from tests.files.content import files_in
from tests.files.test_documentation import page as documented
from tests.files.test_uploads import BIG, folder, multipart  # noqa: F401 - a fixture
from tests.loops import until


@csrf_exempt
async def upload(request):
    file = request.FILES["file"]
    read = await file.aread()
    name = await files.storage().asave(file.name, file)
    return JsonResponse({"size": file.size, "read": len(read), "name": name})


@csrf_exempt
def upload_in_thread(request):
    file = request.FILES["file"]
    read = file.read()
    name = default_storage.save(file.name, file)
    return JsonResponse({"size": file.size, "read": len(read), "name": name})


@csrf_exempt
async def receive(request):
    return HttpResponse(await documented.receive(request, "body.bin"))


urlpatterns = [
    path("receive/", receive),
    path("upload/", upload),
    path("upload-in-thread/", upload_in_thread),
]


@pytest.mark.parametrize("address", ["/upload/", "/upload-in-thread/"])
@pytest.mark.parametrize("in_memory", [False, True])
async def test_an_upload_is_read_and_saved(project, media, folder, address, in_memory):  # noqa: F811
    if in_memory:
        project.configure(FILE_UPLOAD_MAX_MEMORY_SIZE=2**30)
    body = multipart(file=("file.bin", BIG))
    answer = await project.post(
        address, [body[: 2**20], body[2**20 :]], headers=[("content-type", MULTIPART_CONTENT)]
    )
    assert answer.json() == {"size": len(BIG), "read": len(BIG), "name": "file.bin"}
    assert files_in(media) == {"file.bin": BIG}
    assert files_in(folder) == {}


async def test_a_body_goes_into_a_storage_as_it_comes(project, media, folder):  # noqa: F811
    exchange = project.post("/receive/", [], headers=[("content-length", str(len(BIG)))])
    exchange.start()
    for start in range(0, len(BIG), 2**18):
        exchange.feed(BIG[start : start + 2**18], more_body=start + 2**18 < len(BIG))
        await until(lambda: files_in(media))  # what has come is on its way already
    assert (await exchange).text == "body.bin"
    assert files_in(media) == {"body.bin": BIG}
    assert files_in(folder) == {}


async def test_a_body_that_breaks_off_leaves_nothing_in_the_storage(project, media):
    exchange = project.post("/receive/", [], headers=[("content-length", str(len(BIG)))])
    exchange.start()
    exchange.feed(BIG[: 2**20], more_body=True)
    await until(lambda: files_in(media))
    exchange.leave()
    await exchange
    assert files_in(media) == {}
