"""What Django's `File` and `FieldFile` lack in async code.

Position, modes and errors are those of the synchronous methods. What is in memory is read and
written at once, anything else in a thread; calls of several tasks on one file come one after
the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, TypeVar

from onloop import bridge
from onloop.files.hop import in_thread, is_native
from onloop.files.strands import has_own, in_memory, kind_of, strand_of

T = TypeVar("T")

_END: Any = object()


async def aread(self: Any, size: int = -1) -> Any:
    """`File.aread()`: read `size` bytes (or characters), or all, from where it stands."""
    if in_memory(self):
        return self.read(size)
    if (inner := await _inner(self, "aread")) is not None:
        return await inner.aread(size)
    # Some files' `read` takes no argument.
    return await _call(self, lambda: self.read() if size in (-1, None) else self.read(size))


async def achunks(self: Any, chunk_size: int | None = None) -> AsyncGenerator[Any, None]:
    """`File.achunks()`: the whole file in pieces of `chunk_size` bytes, as `chunks()`."""
    inner = None if in_memory(self) else await _inner(self, "achunks")
    if inner is not None:
        async for chunk in inner.achunks(chunk_size):
            yield chunk
        return
    chunks = self.chunks(chunk_size)
    while (chunk := await _call(self, lambda: next(chunks, _END))) is not _END:
        yield chunk


async def awrite(self: Any, data: Any) -> Any:
    """`File.awrite()`: write `data` where the file stands; returns how much was written."""
    if in_memory(self):
        return self.write(data)
    if (inner := await _inner(self, "awrite")) is not None:
        return await inner.awrite(data)
    return await _call(self, lambda: self.write(data))


async def aseek(self: Any, offset: int, whence: int = 0) -> Any:
    """`File.aseek()`: move to a position and return it."""
    if in_memory(self):
        return self.seek(offset, whence)
    if (inner := await _inner(self, "aseek")) is not None:
        return await inner.aseek(offset, whence)
    return await _call(self, lambda: self.seek(offset, whence))


async def aopen(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`File.aopen()`: open the file again, or rewind it; takes what `open()` takes."""
    if _is_native_field(self):
        return await bridge.run(self.open, *args, **kwargs)
    return await _call(self, lambda: self.open(*args, **kwargs))


async def aclose(self: Any) -> None:
    """`File.aclose()`: close the file, after what is being read or written.

    It is closed even if the task is cancelled meanwhile.
    """
    if in_memory(self):
        self.close()
    elif (inner := _own(self, "aclose")) is not None:
        await inner.aclose()
    else:
        await bridge.run(partial(strand_of(self).finish, self.close, kind=kind_of(self)))


async def aenter(self: Any) -> Any:
    """`async with file:` closes the file at its end."""
    return self


async def aleave(self: Any, exc_type: object, exc: object, tb: object) -> None:
    await self.aclose()


async def field_asave(self: Any, name: Any, content: Any, save: bool = True) -> None:
    """`FieldFile.asave()`: save `content` in the storage, and the model with it."""
    await bridge.run(self.save, name, content, save)


field_asave.alters_data = True  # type: ignore[attr-defined]


async def field_adelete(self: Any, save: bool = True) -> None:
    """`FieldFile.adelete()`: delete the file in the storage, and save the model."""
    await bridge.run(_delete, self, save)


field_adelete.alters_data = True  # type: ignore[attr-defined]


def _delete(file: Any, save: bool) -> None:
    if not file:
        return
    in_thread(file.storage, lambda: file.delete(save=False), content=file)
    if save:
        file.instance.save()


async def _call(file: Any, call: Callable[[], T]) -> T:
    if in_memory(file):
        return call()
    return await bridge.run(partial(strand_of(file).call, call, kind=kind_of(file)))


async def _inner(file: Any, name: str) -> Any:
    """Return the file that has an awaitable method of its own in the place of ours."""
    if _is_native_field(file) and vars(file).get("_file") is None:
        await bridge.run(file.open)
    return _own(file, name)


def _own(file: Any, name: str) -> Any:
    inner = vars(file).get("_file")
    return inner if hasattr(inner, name) and has_own(inner, name) else None


def _is_native_field(file: Any) -> bool:
    return hasattr(file, "storage") and is_native(file.storage)
