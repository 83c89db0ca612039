"""Views that take a request's body."""

import hashlib

from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

import onloop


@csrf_exempt
async def digest(request):
    sha, size = hashlib.sha256(), 0
    async for piece in request:
        sha.update(piece)
        size += len(piece)
    return HttpResponse(f"{size} {sha.hexdigest()}")


def _files(files):
    return JsonResponse({
        name: [file.size, hashlib.file_digest(file, "sha256").hexdigest()]
        for name, file in files.items()
    })  # fmt: skip


@csrf_exempt
async def upload(request):
    return _files(await request.afiles())


@csrf_exempt
def upload_in_thread(request):
    return _files(request.FILES)


@csrf_exempt
@onloop.on_loop
def upload_on_loop(request):
    return _files(request.FILES)


@csrf_exempt
@onloop.limits(max_body=1_000_000)
async def limited(request):
    return HttpResponse(str(len(await request.abody())))


@csrf_exempt
@onloop.limits(chunk_timeout=0.3)
def impatient(request):
    return HttpResponse(str(len(request.body)))


@csrf_exempt
async def until_you_leave(request):
    """Says so when the client leaves in the middle of its body."""
    print("the upload begins", flush=True)
    try:
        async for _ in request:
            pass
    except BaseException as exc:
        print(f"the upload was left: {type(exc).__name__}", flush=True)
        raise
    return HttpResponse("complete")
