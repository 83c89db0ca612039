"""Django's `FileSystemStorage`: its disk does not hold the loop, and it saves whole or not.

In a bridge its methods go into a thread. What is saved there is written under a name of its own
in the same folder, and gets its real name when it is complete; so a save that fails, or whose
task is cancelled, leaves nothing. The rules for names, folders and permissions are Django's:
its own `_save` moves the file, as it does with an upload that is on the disk already. Plain
synchronous code, and that in threads of its own, keeps Django's behaviour.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage, Storage, filesystem
from django.utils._os import safe_makedirs

from onloop import bridge
from onloop.files.hop import in_thread
from onloop.files.threads import go_on, in_call

CHUNK_SIZE = 2**16
# What a file system answers that knows no hard links.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

_storage_save = Storage.save
_open = vars(FileSystemStorage)["_open"]
_save = vars(FileSystemStorage)["_save"]
_move = vars(filesystem)["file_move_safe"]


def hopping(method: Callable[..., Any]) -> Callable[..., Any]:
    """In a bridge, run a method of a storage in a thread."""

    @functools.wraps(method)
    def inner(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not bridge.active():
            return method(self, *args, **kwargs)
        return in_thread(self, functools.partial(method, self, *args, **kwargs))

    return inner


# Bound in Django. `url` and `path` ask no disk.
delete = hopping(FileSystemStorage.delete)
exists = hopping(FileSystemStorage.exists)
listdir = hopping(FileSystemStorage.listdir)
size = hopping(FileSystemStorage.size)
get_accessed_time = hopping(FileSystemStorage.get_accessed_time)
get_created_time = hopping(FileSystemStorage.get_created_time)
get_modified_time = hopping(FileSystemStorage.get_modified_time)


def open_(self: Any, name: str, mode: str = "rb") -> Any:
    """`FileSystemStorage._open`; what nobody waits for any more is closed again."""
    if not bridge.active():
        return _open(self, name, mode)
    return in_thread(self, lambda: _open(self, name, mode), undo=lambda file: file.close())


def save(self: Any, name: Any, content: Any, max_length: int | None = None) -> Any:
    """`Storage.save`, of all storages that do not write their own: in a bridge in a thread."""
    call = functools.partial(_storage_save, self, name, content, max_length=max_length)
    if not bridge.active():
        return call()
    return save_in_thread(self, call, name, content)


def save_in_thread(storage: Any, call: Callable[[], Any], name: Any, content: Any) -> Any:
    """Make the call, which saves `content`; if its task is cancelled, take the file away again.

    Raises `SuspiciousFileOperation`, which Django answers with 400, also for names that the
    operating system refuses.
    """
    if not isinstance(storage, FileSystemStorage):
        return in_thread(storage, call, content=content)
    name = getattr(content, "name", None) if name is None else name
    check_name(name, new=True)
    # What stood there before cannot be brought back, so the new content is better than none.
    undo = None if _overwrites(storage) else storage.delete
    with refusing(name):
        return in_thread(storage, call, content=content, undo=undo)


@contextlib.contextmanager
def refusing(name: Any) -> Iterator[None]:
    """Raise `SuspiciousFileOperation` for a name that is longer than the file system's."""
    try:
        yield
    except OSError as exc:
        if exc.errno != errno.ENAMETOOLONG:
            raise
        raise SuspiciousFileOperation(f"The file name {name!r} is too long.") from exc


def _overwrites(storage: Any) -> bool:
    return bool(storage._allow_overwrite)


def check_name(name: Any, *, new: bool = False) -> None:
    """Raise `SuspiciousFileOperation` for a name that no file can have.

    A `new` one must be text that can be kept elsewhere as well: in a database, in an address.
    """
    try:
        encoded = str(name).encode() if new else os.fsencode(str(name))
        possible = b"\0" not in encoded
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise SuspiciousFileOperation(f"A file cannot have the name {name!r}.")


# --- In the thread --------------------------------------------------------------------------


def save_whole(self: Any, name: str, content: Any) -> Any:
    """`FileSystemStorage._save`: in our threads, the whole file or none."""
    if bridge.active():  # a subclass that has its own `save`
        call = functools.partial(save_whole, self, name, content)
        return save_in_thread(self, call, name, content)
    if not in_call() or _opens_its_own_way(self):
        return _save(self, name, content)
    if hasattr(content, "temporary_file_path"):
        return _save_complete(self, name, content.temporary_file_path())
    folder = Path(self.path(name)).parent
    try:
        _make_folder(self, folder)
    except FileExistsError:
        return _save(self, name, content)  # which says what is wrong
    part = _new_part(folder)
    try:
        _write(part, content)
        return _save_complete(self, name, part)
    finally:
        part.unlink(missing_ok=True)


def _save_complete(storage: Any, name: str, path: Any) -> Any:
    content = _Complete(path)
    try:
        return _save(storage, name, content)
    except BaseException:
        # Permissions could not be set, for one: it has its name already.
        if content.path.moved_to is not None and not _overwrites(storage):
            content.path.move_back()
        raise


def _opens_its_own_way(storage: Any) -> bool:
    """Django 5.2 lets subclasses choose flags; it warns that it will not for long."""
    flags = getattr(FileSystemStorage, "OS_OPEN_FLAGS", None)
    return flags is not None and flags != storage.OS_OPEN_FLAGS


def _make_folder(storage: Any, folder: Path) -> None:
    mode = storage.directory_permissions_mode
    if mode is None:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        safe_makedirs(str(folder), mode, exist_ok=True)


def _new_part(folder: Path) -> Path:
    return folder / f".onloop-{secrets.token_hex(8)}.part"


def _write(part: Path, content: Any) -> None:
    # As Django: 0o666 without what the umask forbids, text as `open` writes it.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    file: Any = None
    try:
        for chunk in content.chunks():
            go_on()
            if file is None:
                file = os.fdopen(descriptor, "wb" if isinstance(chunk, bytes) else "wt")
            file.write(chunk)
    finally:
        if file is None:
            os.close(descriptor)
        else:
            file.close()
    go_on()


class _Complete:
    """Content that Django's `_save` moves to its place, by `move`."""

    def __init__(self, path: Any) -> None:
        self.path = _CompletePath(path)

    def temporary_file_path(self) -> str:
        return self.path


class _CompletePath(str):
    """The path of a complete file, which only we make: by it, `move` knows its callers."""

    moved_to: Path | None = None

    def move_back(self) -> None:
        assert self.moved_to is not None
        try:
            self.moved_to.rename(self)
        except OSError:
            self.moved_to.unlink(missing_ok=True)  # it came from another file system


def move(
    old_file_name: Any, new_file_name: Any, chunk_size: int = CHUNK_SIZE,
    allow_overwrite: bool = False,
) -> None:  # fmt: skip
    """`file_move_safe` of Django's storage, which in our threads never overwrites by chance.

    Django looks whether the name is free and then renames; in between another task may have
    taken it. Raises `FileExistsError`, upon which `_save` looks for another name.
    """
    if not isinstance(old_file_name, _CompletePath):
        _move(old_file_name, new_file_name, chunk_size, allow_overwrite)
        return
    old, new = Path(old_file_name), Path(new_file_name)
    try:
        _rename(old, new, allow_overwrite)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        _copy_over(old, new, chunk_size, allow_overwrite)
    old_file_name.moved_to = new


def _copy_over(old: Path, new: Path, chunk_size: int, allow_overwrite: bool) -> None:
    """Move a file to another file system."""
    part = _new_part(new.parent)
    try:
        _copy(old, part, chunk_size)
        _rename(part, new, allow_overwrite)
    finally:
        part.unlink(missing_ok=True)
    old.unlink()


def _rename(old: Path, new: Path, allow_overwrite: bool) -> None:
    if allow_overwrite:
        old.replace(new)
        return
    try:
        new.hardlink_to(old)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        # The empty file takes the name.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            old.replace(new)
        except BaseException:
            new.unlink()
            raise
    else:
        old.unlink()


def _copy(old: Path, new: Path, chunk_size: int) -> None:
    with old.open("rb") as source, new.open("xb") as target:
        while chunk := source.read(chunk_size):
            go_on()
            target.write(chunk)
    try:
        shutil.copystat(old, new)
    except PermissionError:
        pass  # some network file systems: Django puts up with it too
