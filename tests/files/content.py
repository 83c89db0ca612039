"""Content that is saved while the test looks on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from django.core.files.base import ContentFile


class Slow(ContentFile):
    """Three chunks; before the second one it waits to be told to go on."""

    def __init__(self, *, error: Exception | None = None) -> None:
        super().__init__(b"xxxxxx", name="slow.txt")
        self.under_way, self.go_on = threading.Event(), threading.Event()
        self.threads: set[int] = set()
        self.error = error

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        self.threads.add(threading.get_ident())
        yield b"xx"
        self.under_way.set()
        assert self.go_on.wait(90)
        if self.error is not None:
            raise self.error
        yield b"xx"
        yield b"xx"


def files_in(folder) -> dict[str, bytes]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }
