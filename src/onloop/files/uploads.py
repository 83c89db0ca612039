"""Uploads on the disk, written in threads while they come in."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile as DjangosTemporaryUploadedFile

from onloop import bridge
from onloop.files.strands import strand_of

# Bytes that are collected in memory for the next writing. A hop into a thread takes as long as
# writing 200 KiB. 64 MiB took 59 ms in pieces of 64 KiB, 20 in pieces of twice this size; with
# those an upload would take more than 1 MiB of memory.
WRITE_SIZE = 2**18
# Bytes of a client's file name extension that the name of the temporary file takes over.
EXTENSION_SIZE = 32


class TemporaryUploadedFile(DjangosTemporaryUploadedFile):
    """Django's, of which `TemporaryFileUploadHandler` makes use; in a bridge it hops.

    What was written is on the disk before anybody gets to see the file or its path.
    """

    def __init__(
        self,
        name: Any,
        content_type: Any,
        size: Any,
        charset: Any,
        content_type_extra: Any = None,
    ) -> None:
        self._pending: list[bytes] = []
        self._pending_size = 0
        # Django makes the extension a part of the temporary file's name, however long it is.
        extension = os.path.splitext(name)[1]  # noqa: PTH122 - as Django does
        fits = len(os.fsencode(extension)) <= EXTENSION_SIZE
        create = partial(
            super().__init__,
            name if fits else "upload", content_type, size, charset, content_type_extra,
        )  # fmt: skip
        strand_of(self).call(create, undo=lambda _: self._close())
        self.name = name

    # Whatever Django's classes do with the file begins by asking for it.
    @property
    def file(self) -> Any:
        if self._pending:
            self._write_pending()
        return self._file_on_disk

    @file.setter
    def file(self, file: Any) -> None:
        self._file_on_disk = file

    def write(self, data: Any) -> int:
        """Write `data`, which is collected in memory up to `WRITE_SIZE` bytes."""
        if not bridge.active():
            return self.file.write(data)  # type: ignore[no-any-return]
        self._pending.append(bytes(data))
        self._pending_size += len(data)
        if self._pending_size >= WRITE_SIZE:
            self._write_pending()
        return len(data)

    def temporary_file_path(self) -> str:
        file = self._file_on_disk
        if not file.closed:
            self._write_pending()
            strand_of(self).call(file.flush)
        return str(file.name)

    def close(self) -> None:
        """Close the file, and so delete it, after what is being written."""
        self._pending = []
        strand_of(self).finish(self._close)

    def _close(self) -> None:
        self._pending = []
        super().close()

    def _write_pending(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        try:
            strand_of(self).call(partial(self._write_all, pending))
        except BaseException:
            self.close()  # what is missing from now on nobody may take for the whole
            raise

    def _write_all(self, chunks: list[bytes]) -> None:
        self._file_on_disk.writelines(chunks)
        self._file_on_disk.flush()
