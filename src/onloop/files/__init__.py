"""Files that do not hold the loop: storages to await, responses with ranges.

`await file.aread()` and the like are added to Django's own files; `docs/files.md` has them all.
"""

from __future__ import annotations

from onloop.files.response import FileResponse
from onloop.files.storage import AsyncStorage, NativeAsyncStorage, storage

__all__ = ["AsyncStorage", "FileResponse", "NativeAsyncStorage", "storage"]
