"""The request: Django's, with a body that is read when somebody asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser
from django.http.request import RawPostDataException
from django.utils.datastructures import ImmutableList, MultiValueDict
from greenlet import getcurrent, greenlet

from onloop import bridge
from onloop.asgi.errors import ClientDisconnected
from onloop.asgi.incoming import Incoming
from onloop.waiting import FifoLock, running_loop

T = TypeVar("T")

logger = logging.getLogger("onloop.asgi")

# Of a length; Python refuses to read thousands of them.
MAX_DIGITS = 18


class Stream:
    """The body as the file that Django reads: in a bridge, in a thread, or by awaiting.

    Not seekable. Where a read has to wait, it waits on the loop; a thread waits for the loop.
    """

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._lock = FifoLock()
        self._reader: greenlet | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let one caller at a time ask for the body or the form, of any number at once.

        Django has nothing for that: to whoever comes in the middle of a form it says that there
        is none. Whoever has the turn may take it again, as a form does that asks for the body.
        """
        here = getcurrent()
        if self._reader is here:
            yield
            return
        self._lock.acquire(None)
        self._reader = here
        try:
            yield
        finally:
            self._reader = None
            self._lock.release()

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, fewer only at the end; all that comes if it is negative or None.

        Raises what `Incoming.piece` raises, `ValueError` once the file is closed, and
        `SynchronousOnlyOperation` on the loop outside of a bridge.
        """
        return self._wait(self.aread, size)

    def readline(self, size: int | None = -1) -> bytes:
        """Read up to the end of a line, and at most `size` bytes."""
        return self._wait(self._aread_line, size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        """End all reading: the request is cancelled, and nobody needs its body any more."""
        self.incoming.fail(ClientDisconnected("The request was cancelled."))

    async def aread(self, size: int | None = -1) -> bytes:
        """`read`, to be awaited."""
        if self._closed:
            raise ValueError("The body of the request is closed.")
        wanted = -1 if size is None else size
        whole = BytesIO()  # which gives its buffer away without a copy
        while wanted:
            piece = await self.incoming.piece(wanted if wanted > 0 else None)
            if not piece:
                break
            if len(piece) == wanted and not whole.tell():
                return piece
            whole.write(piece)
            if wanted > 0:
                wanted -= len(piece)
        return whole.getvalue()

    async def _aread_line(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        line = bytearray()
        while wanted < 0 or len(line) < wanted:
            piece = await self.incoming.piece(wanted - len(line) if wanted > 0 else None)
            end = piece.find(b"\n") + 1
            if end:
                self.incoming.put_back(piece[end:])
                piece = piece[:end]
            line += piece
            if end or not piece:
                break
        return bytes(line)

    def _wait(
        self, read: Callable[[int | None], Coroutine[Any, Any, T]], size: int | None
    ) -> T:
        if bridge.active():
            return bridge.await_(read(size))
        if running_loop() is None:
            # In the thread of a view: the loop is not ours to hold.
            return asyncio.run_coroutine_threadsafe(read(size), self._loop).result()
        raise SynchronousOnlyOperation(
            "The body of the request has not come yet; reading it here would hold the event "
            "loop. Use `await request.abody()`, `await request.apost()`, `await "
            "request.afiles()` or `async for chunk in request`."
        )


class OnloopRequest(ASGIRequest):
    """Django's `ASGIRequest`, with `abody`, `apost`, `afiles` and `async for chunk in request`.

    The synchronous `body`, `POST`, `FILES` and `read()` work wherever they do under WSGI, and
    in `async def` views: they wait in the request's bridge.
    """

    _stream: Any
    _read_started: bool

    def __init__(self, scope: Any, body_file: Any) -> None:
        super().__init__(scope, body_file)
        length = self.META.get("CONTENT_LENGTH")
        if length is not None and not _is_reliable(length, self.META):
            # As it would not be for one who read the body, however it comes in.
            del self.META["CONTENT_LENGTH"]

    @property
    def body(self) -> bytes:
        """The whole body in memory, which `DATA_UPLOAD_MAX_MEMORY_SIZE` limits."""
        if hasattr(self, "_body") or not self._is_lazy:
            return super().body
        with self._stream.turn():
            if hasattr(self, "_body") or self._read_started or not self._is_lazy:
                return super().body
            return self._whole_body()

    def _whole_body(self) -> bytes:
        # Django reads what is not seekable without a limit, and looks afterwards.
        self._stream.incoming.check_size()
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._check_data_too_big(self._stream.incoming.declared or 0)  # type: ignore[attr-defined]
        stream = self._stream
        data = self.read(-1 if most is None else most + 1)
        self._check_data_too_big(len(data))  # type: ignore[attr-defined]
        self._body = data
        self._stream = BytesIO(data)
        stream.close()
        return data

    async def abody(self) -> bytes:
        """`body`, to be awaited."""
        return await bridge.run(lambda: self.body)

    async def apost(self) -> QueryDict:
        """`POST`, to be awaited."""
        return await bridge.run(lambda: self.POST)

    async def afiles(self) -> MultiValueDict[str, Any]:
        """`FILES`, to be awaited."""
        return await bridge.run(lambda: self.FILES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the body in pieces as they come, of any size, none of them kept.

        Raises `RawPostDataException` if somebody has read from the body before.
        """
        if hasattr(self, "_body"):
            if self._body:
                yield self._body
            return
        if self._read_started:
            raise RawPostDataException(
                "You cannot iterate over the body after something was read from it."
            )
        self._read_started = True
        if not self._is_lazy:
            if data := self._stream.read():
                yield data
            return
        while piece := await self._stream.incoming.piece():
            yield piece

    def _load_post_and_files(self) -> None:
        if not self._is_lazy:
            super()._load_post_and_files()
            return
        with self._stream.turn():
            if not (hasattr(self, "_post") and hasattr(self, "_files")):  # loaded meanwhile
                super()._load_post_and_files()

    @property
    def _is_lazy(self) -> bool:
        return isinstance(self._stream, Stream)

    def parse_file_upload(
        self,
        META: Any,  # noqa: N803 - Django's name
        post_data: Any,
    ) -> tuple[QueryDict, MultiValueDict[str, Any]]:
        """Let Django's parser and upload handlers work; leave nothing of a broken upload."""
        if "CONTENT_LENGTH" not in META or (self._is_lazy and post_data is self):
            META = {**META, "CONTENT_LENGTH": str(self._length_at_most())}  # noqa: N806
        self.upload_handlers = ImmutableList(
            self.upload_handlers,
            warning="You cannot alter upload handlers after the upload has been processed.",
        )
        kind = getattr(self, "multipart_parser_class", MultiPartParser)
        parser = kind(META, post_data, self.upload_handlers, self.encoding)
        try:
            return parser.parse()
        except BaseException as exc:
            # Django's parser closes what was complete, if it was no cancellation.
            complete: Any = getattr(parser, "_files", MultiValueDict())
            closings = [file.close for _, files in complete.lists() for file in files]
            interrupted = [handler.upload_interrupted for handler in self.upload_handlers]
            cancelled = _do_all([*closings, *interrupted])
            if cancelled is not None and not isinstance(exc, asyncio.CancelledError):
                raise cancelled from None
            raise

    def _length_at_most(self) -> int:
        """What parser and handlers are told: they keep in memory what is short.

        More than was declared never comes. A body of unknown length is not short.
        """
        if not self._is_lazy:
            return len(self._stream.getbuffer())
        incoming: Incoming = self._stream.incoming
        return incoming.limits.max_body if incoming.declared is None else incoming.declared


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the length that the client gave to its body, if it can be relied upon.

    A body in chunks has none, whatever else is said (RFC 9112, 6.3).
    """
    lengths = set()
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            lengths.add(value)
    length = lengths.pop() if len(lengths) == 1 else b""
    if not length.isdigit():
        return None
    return int(length) if len(length) <= MAX_DIGITS else 10**MAX_DIGITS


def _is_reliable(length: str, meta: dict[str, Any]) -> bool:
    """The same of `CONTENT_LENGTH`, which Django and others read with `int`."""
    return (
        len(length) <= MAX_DIGITS
        and length.isascii()
        and length.isdigit()
        and "HTTP_TRANSFER_ENCODING" not in meta
    )


def _do_all(steps: list[Callable[[], object]]) -> asyncio.CancelledError | None:
    """Do every step, whatever one of them raises; return a cancellation that came meanwhile."""
    cancelled = None
    for step in steps:
        try:
            step()
        except asyncio.CancelledError as exc:
            cancelled = exc
        except Exception:
            logger.exception("%r failed when an upload broke off.", step)
    return cancelled
