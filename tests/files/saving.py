"""The ways by which a file gets into a storage in async code."""

from __future__ import annotations

from django.core.files.uploadedfile import TemporaryUploadedFile

from onloop import bridge
from onloop.files import AsyncStorage


def by_wrapper(storage, name, content):
    return AsyncStorage(storage).asave(name, content)


def in_bridge(storage, name, content):
    return bridge.run(storage.save, name, content)


def by_private_method(storage, name, content):
    """As a subclass does that has its own `save`."""
    return bridge.run(storage._save, name, content)


def uploaded(content=b"uploaded"):
    file = TemporaryUploadedFile("name.txt", "text/plain", len(content), None)
    file.write(content)
    file.seek(0)
    return file
