"""Which storages' methods leave the loop, and to which threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.db import connections

from onloop.files.strands import strand_of
from onloop.files.threads import Kind, Strand, in_call

T = TypeVar("T")


class Native:
    """Marks storages that wait on the loop by themselves."""


def is_native(storage: Any) -> bool:
    return isinstance(storage, Native)


def _kind_of(storage: Any) -> Kind:
    return "disk" if isinstance(storage, FileSystemStorage) else "remote"


def in_thread(
    storage: Any,
    call: Callable[[], T],
    *,
    content: Any = None,
    undo: Callable[[T], object] | None = None,
) -> T:
    """Make a call of a storage, in a bridge in a thread.

    `content`: the file that is read meanwhile. Storages in memory, and those that wait on the
    loop by themselves, are called right here.
    """
    if isinstance(storage, InMemoryStorage | Native):
        return call()
    if not storage.__class__.__module__.startswith("django."):
        call = _without_connections(call)
    strand = Strand() if content is None else strand_of(content)
    return strand.call(call, kind=_kind_of(storage), undo=undo)


def _without_connections(call: Callable[[], T]) -> Callable[[], T]:
    """Close what a storage that asks the database opens in our thread, which outlives it."""

    def closing() -> T:
        try:
            return call()
        finally:
            if in_call():
                connections.close_all()

    return closing
