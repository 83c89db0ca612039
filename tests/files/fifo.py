"""A pipe with a name: reading it lasts until the test writes.

Opening one end waits for the other, so both are opened for reading and writing first.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from django.core.files import File


class Fifo:
    """`file` is what is tested; `write` is done on the loop, which must be free for it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._write = os.open(path, os.O_RDWR)
        # Unbuffered: a read ends with what is there.
        raw = io.FileIO(os.open(path, os.O_RDONLY), "rb")
        self.file: File[Any] = File(raw, name=str(path))

    def write(self, data: bytes) -> None:
        os.write(self._write, data)

    def close(self) -> None:
        """What still reads comes to its end."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
