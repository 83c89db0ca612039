"""A `FileResponse` that answers `Range` and conditional requests (RFC 9110)."""

from __future__ import annotations

import io
import os
import secrets
import stat
import time
from collections.abc import Iterator
from typing import Any

from django.http import FileResponse as DjangosFileResponse
from django.http import HttpRequest
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_http_date_safe

from onloop.files import ranges
from onloop.files.blocks import Blocks, closes_in_line
from onloop.files.strands import on_disk, strand_of

# What is sent: bytes as they are, and parts of the file as (position, number of bytes).
Piece = bytes | tuple[int, int]


class FileResponse(DjangosFileResponse):
    """Django's, which knows the request.

    `request`: with it a GET is answered with the ranges that it asks for (206, 416), with 304
    or 412 where its conditions say so, and a HEAD without reading the file. `Last-Modified` and
    a strong `ETag`, of the file's time and size, are set unless `headers` has them. A file that
    cannot seek, or a `status` other than 200, is sent as Django sends it.

    Works under WSGI as well.
    """

    def __init__(self, *args: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
        self._ready = False
        super().__init__(*args, **kwargs)
        file = self.file_to_stream
        if (
            request is not None
            and request.method in {"GET", "HEAD"}
            and self.status_code == 200
            and file is not None
            and _seekable(file)
        ):
            self._answer(request, file)
        self._ready = True

    def _set_streaming_content(self, value: Any) -> None:
        super()._set_streaming_content(value)  # type: ignore[misc]
        if self._ready:
            # Somebody changes what is sent: a middleware that compresses it, for one. The bytes
            # of a range would not be the file's any more.
            del self.headers["Accept-Ranges"]

    def _answer(self, request: HttpRequest, file: Any) -> None:
        begin, modified = strand_of(file).call(lambda: (file.tell(), _validate(self, file)))
        size = int(self.headers["Content-Length"])
        self.headers["Accept-Ranges"] = "bytes"
        etag = self.headers.get("ETag")
        changed = self.headers.get("Last-Modified")
        date = parse_http_date_safe(changed) if changed else None
        this: Any = self
        answer: Any = get_conditional_response(request, etag, date, this)
        if answer is not self:
            self._send_no_body(answer.status_code)
            return
        wanted = None
        if request.method == "GET" and _if_range(request, etag, date, modified):
            wanted = ranges.parse(request.headers.get("Range", ""), size)
        if request.method == "HEAD":
            self._send(file, begin, [])
        elif wanted is None:
            self._send(file, begin, [(0, size)], whole=True)
        elif not wanted:
            self._send_no_body(416)
            self.headers["Content-Range"] = f"bytes */{size}"
        else:
            self._send_ranges(request, file, begin, wanted, size)

    def _send_no_body(self, status: int) -> None:
        self.status_code = status
        for name in ("Content-Type", "Content-Disposition", "Content-Length"):
            del self.headers[name]
        if status != 304:
            self.headers["Content-Length"] = "0"
        self._send(self.file_to_stream, 0, [])

    def _send_ranges(
        self,
        request: HttpRequest,
        file: Any,
        begin: int,
        wanted: list[tuple[int, int]],
        size: int,
    ) -> None:
        self.status_code = 206
        pieces: list[Piece]
        if len(wanted) == 1:
            pieces = [*wanted]
            self.headers["Content-Range"] = ranges.content_range(*wanted[0], size)
        else:
            pieces = self._multipart(wanted, size)
        length = sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)
        self.headers["Content-Length"] = str(length)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            # Or Django's GZipMiddleware would compress what Content-Range counts uncompressed.
            self.headers["Content-Encoding"] = "identity"
        self._send(file, begin, pieces)

    def _multipart(self, wanted: list[tuple[int, int]], size: int) -> list[Piece]:
        boundary = secrets.token_hex(16)
        content_type = self.headers["Content-Type"]
        pieces: list[Piece] = []
        for first, length in wanted:
            head = (
                f"--{boundary}\r\nContent-Type: {content_type}\r\n"
                f"Content-Range: {ranges.content_range(first, length, size)}\r\n\r\n"
            )
            pieces += [head.encode("latin-1"), (first, length), b"\r\n"]
        self.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        return [*pieces, f"--{boundary}--\r\n".encode()]

    def _send(self, file: Any, begin: int, pieces: list[Piece], *, whole: bool = False) -> None:
        blocks: Any = self._blocks_of(file, begin, pieces)
        if pieces and on_disk(file):
            blocks = Blocks(file, blocks)
        self._iterator = blocks
        closes_in_line(vars(self)["_resource_closers"], file)
        if not whole:
            # A WSGI server's file wrapper would send all of it.
            self.file_to_stream = None

    def _blocks_of(self, file: Any, begin: int, pieces: list[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            position, rest = piece
            file.seek(begin + position)
            # A file that has become shorter ends early: the server sees that bytes are missing.
            while rest and (block := file.read(min(rest, self.block_size))):
                rest -= len(block)
                yield block


def _seekable(file: Any) -> bool:
    # What Django's `set_headers` asks. Without a position there is nothing to count from.
    return hasattr(file, "tell") and hasattr(file, "seek") and (
        not hasattr(file, "seekable") or file.seekable()
    )  # fmt: skip


def _validate(response: DjangosFileResponse, file: Any) -> float | None:
    """Set the validators of a file on a disk; return when it was last changed."""
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError, io.UnsupportedOperation):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    response.headers.setdefault("ETag", f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
    response.headers.setdefault("Last-Modified", http_date(status.st_mtime))
    return status.st_mtime


def _if_range(
    request: HttpRequest, etag: str | None, date: int | None, modified: float | None
) -> bool:
    """Tell whether ranges may be sent, by `If-Range` (RFC 9110, section 13.1.5)."""
    condition = request.headers.get("If-Range", "").strip()
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag and not condition.startswith("W/")
    wanted = parse_http_date_safe(condition)
    # A file that changed within this second may change in it once more and keep its date.
    settled = modified is None or int(modified) < int(time.time())
    return wanted is not None and wanted == date and settled
