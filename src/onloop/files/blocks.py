"""The blocks of a file response, read in a thread: the next one while one is being sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.http import FileResponse

from onloop import bridge
from onloop.files.strands import in_memory, on_disk, strand_of
from onloop.files.threads import Job

_END: Any = object()
_set_streaming_content = vars(FileResponse)["_set_streaming_content"]


def set_streaming_content(self: Any, value: Any) -> None:
    """`FileResponse._set_streaming_content`: what is on a disk does not hold the loop."""
    _set_streaming_content(self, value)
    file = self.file_to_stream
    if file is not None and on_disk(file):
        self._iterator = Blocks(file, self._iterator)
        closes_in_line(self._resource_closers, file)


def closes_in_line(closers: list[Callable[[], object]], file: Any) -> None:
    """Let a response's closer of `file` wait until nobody reads it."""
    close = file.close
    closers[:] = [
        partial(close_in_line, file, close) if closer == close else closer for closer in closers
    ]


def close_in_line(file: Any, close: Callable[[], object]) -> None:
    if in_memory(file):
        close()
    else:
        strand_of(file).finish(close)


class Blocks:
    """Iterates over `blocks`, which reads `file`.

    In a bridge it does so in the file's thread, and is at most one block ahead of its consumer.
    """

    def __init__(self, file: Any, blocks: Iterator[bytes]) -> None:
        self._file = file
        self._blocks = blocks
        self._ahead: Job[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not bridge.active() or in_memory(self._file):
            return next(self._blocks)
        # Taken first: whatever comes out of the waiting, it is not waited for again.
        job, self._ahead = self._ahead or self._read(), None
        block = job.wait()
        if block is _END:
            raise StopIteration
        self._ahead = self._read()
        return block

    def _read(self) -> Job[bytes]:
        return strand_of(self._file).put(Job(partial(next, self._blocks, _END)))
