"""Storages to await: around any of Django's, and a base class for those that never block."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from onloop import bridge
from onloop.adapters import async_to_sync
from onloop.files.filesystem import check_name, refusing, save_in_thread
from onloop.files.hop import Native, in_thread

T = TypeVar("T")


def storage(alias: str = "default") -> AsyncStorage:
    """Return the storage that `STORAGES` has under `alias`, to await.

    Raises Django's `InvalidStorageError` where there is none.
    """
    return AsyncStorage(storages[alias])


class AsyncStorage:
    """Any storage of Django's, with methods to await; `storage` is Django's own.

    Its methods run in threads, or where they are where the storage is in memory or waits on
    the loop by itself. They raise what the storage's raise; `SuspiciousFileOperation` also for
    names on a disk that the operating system refuses.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.storage!r}>"

    async def asave(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """Save `content`, a file, and return the name that it got.

        On a disk it is there whole or not at all, also if the task is cancelled meanwhile.
        """
        call = partial(self.storage.save, name, content, max_length=max_length)
        return await bridge.run(save_in_thread, self.storage, call, name, content)

    async def aopen(self, name: str, mode: str = "rb") -> File[Any]:
        """Open a file; read it with `aread` and `achunks`, close it with `aclose`."""
        return await self._call(
            name, partial(self.storage.open, name, mode), undo=lambda file: file.close()
        )

    async def adelete(self, name: str) -> None:
        await self._call(name, partial(self.storage.delete, name))

    async def aexists(self, name: str) -> bool:
        return await self._call(name, partial(self.storage.exists, name))

    async def asize(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return await self._call(name, partial(self.storage.size, name))

    async def alistdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the files in a folder."""
        return await self._call(path, partial(self.storage.listdir, path))

    async def aurl(self, name: str | None) -> str:
        if isinstance(self.storage, FileSystemStorage):
            return self.storage.url(name)
        return await self._call(name, partial(self.storage.url, name))

    async def aget_accessed_time(self, name: str) -> datetime:
        return await self._call(name, partial(self.storage.get_accessed_time, name))

    async def aget_created_time(self, name: str) -> datetime:
        return await self._call(name, partial(self.storage.get_created_time, name))

    async def aget_modified_time(self, name: str) -> datetime:
        return await self._call(name, partial(self.storage.get_modified_time, name))

    async def _call(
        self, name: Any, call: Callable[[], T], undo: Callable[[T], object] | None = None
    ) -> T:
        if not isinstance(self.storage, FileSystemStorage):
            return await bridge.run(in_thread, self.storage, call, undo=undo)
        check_name(name)
        with refusing(name):
            return await bridge.run(in_thread, self.storage, call, undo=undo)


class NativeAsyncStorage(Native, Storage):
    """Base class of storages that wait on the loop, as one over an asynchronous client does.

    Write `_aopen`, `_asave`, `adelete`, `aexists`, `asize`, and `alistdir` or `aurl` where they
    mean something. Django's synchronous methods come from them: in a bridge they await, so a
    `FileField` on such a storage uses no thread; elsewhere they run a loop of their own, as
    `async_to_sync` does.
    """

    async def _aopen(self, name: str, mode: str = "rb") -> File[Any]:
        raise self._lacks("_aopen")

    async def _asave(self, name: str, content: File[Any]) -> str:
        raise self._lacks("_asave")

    async def adelete(self, name: str) -> None:
        raise self._lacks("adelete")

    async def aexists(self, name: str) -> bool:
        raise self._lacks("aexists")

    async def asize(self, name: str) -> int:
        raise self._lacks("asize")

    async def alistdir(self, path: str) -> tuple[list[str], list[str]]:
        raise self._lacks("alistdir")

    async def aurl(self, name: str | None) -> str:
        raise self._lacks("aurl")

    def _lacks(self, name: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__} must define the method {name}() to be used this way."
        )

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return async_to_sync(self._aopen)(name, mode)

    def _save(self, name: str, content: File[Any]) -> str:
        return async_to_sync(self._asave)(name, content)

    def delete(self, name: str) -> None:
        async_to_sync(self.adelete)(name)

    def exists(self, name: str) -> bool:
        return async_to_sync(self.aexists)(name)

    def size(self, name: str) -> int:
        return async_to_sync(self.asize)(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return async_to_sync(self.alistdir)(path)

    def url(self, name: str | None) -> str:
        return async_to_sync(self.aurl)(name)
