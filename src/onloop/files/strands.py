"""Which file is it? Wrappers around one open file share its strand."""

from __future__ import annotations

import io
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

from django.core.files import File
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import UploadedFile

from onloop.files.threads import Kind, Strand

_strands: dict[int, tuple[weakref.ref[Any], Strand]] = {}


def _layers(file: Any) -> Iterator[Any]:
    """The file, what it wraps, and so on inwards; nothing is opened for it."""
    while file is not None:
        yield file
        own = getattr(file, "__dict__", {})
        # A FieldFile opens its file when it is first asked for.
        file = own.get("_file" if "_file" in own and isinstance(file, File) else "file")


def innermost(file: Any) -> Any:
    """Return the open file under Django's wrappers, or the last wrapper where none is open."""
    for layer in _layers(file):
        inner = layer
    return inner


def in_memory(file: Any) -> bool:
    """Tell whether reading and writing take no disk."""
    inner = innermost(file)
    if isinstance(inner, tempfile.SpooledTemporaryFile):
        return not getattr(inner, "_rolled", True)
    return isinstance(inner, io.BytesIO | io.StringIO)


def on_disk(file: Any) -> bool:
    """Tell whether `file` is one of those whose reading may block, as far as can be told.

    Anything else that can be read, such as an object that asks the database, is left where it
    is: its code may need the bridge.
    """
    if isinstance(file, File) and has_own(file, "aread"):
        return False
    return isinstance(innermost(file), io.IOBase | File) and not in_memory(file)


def kind_of(file: Any) -> Kind:
    """Tell in which threads a file is read: what is not on a disk may be far away."""
    inner = innermost(file)
    near = isinstance(inner, io.IOBase | UploadedFile) or isinstance(
        getattr(inner, "storage", None), FileSystemStorage
    )
    return "disk" if near else "remote"


def has_own(file: File[Any], name: str) -> bool:
    """Tell whether a class of files brings an awaitable method of its own."""
    ours = getattr(File, name, None)
    return ours is not None and getattr(type(file), name) is not ours


def strand_of(file: Any) -> Strand:
    """Return the strand of an open file, the same for every wrapper around it.

    A file field whose file is opened meanwhile keeps the strand on which that happens.
    """
    layers = list(_layers(file))
    for layer in reversed(layers):
        found = _strands.get(id(layer))
        if found is not None and found[0]() is layer:
            if layer is not layers[-1]:
                return _remember(layers[-1], found[1])
            return found[1]
    return _remember(layers[-1], Strand())


def _remember(thing: Any, strand: Strand) -> Strand:
    key = id(thing)

    def forget(ref: Any) -> None:
        if (found := _strands.get(key)) is not None and found[0] is ref:
            del _strands[key]

    try:
        entry = (weakref.ref(thing, forget), strand)
    except TypeError:
        return strand  # nothing that could be told apart later
    found = _strands.setdefault(key, entry)
    if found[0]() is not thing:  # of another one, which stood there before
        found = _strands[key] = entry
    return found[1]
