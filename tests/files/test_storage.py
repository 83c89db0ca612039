"""Storages to await: Django's, other people's, and those that wait on the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import (
    FileSystemStorage,
    InMemoryStorage,
    InvalidStorageError,
    Storage,
    default_storage,
)
from django.db import connection

from onloop import bridge, files
from onloop.files import AsyncStorage, NativeAsyncStorage
from tests.files.content import Slow, files_in
from tests.loops import steps, wait_for_thread
from tests.project.library.models import Author, Scan


class Remote(Storage):
    """Somebody's storage, which blocks; it notes in which threads."""

    def __init__(self):
        self.kept, self.threads = {}, []

    def _here(self):
        self.threads.append(threading.current_thread().name)

    def _open(self, name, mode="rb"):
        self._here()
        return ContentFile(self.kept[name], name)

    def _save(self, name, content):
        self._here()
        self.kept[name] = b"".join(content.chunks())
        return name

    def delete(self, name):
        self._here()
        del self.kept[name]

    def exists(self, name):
        self._here()
        return name in self.kept

    def size(self, name):
        self._here()
        return len(self.kept[name])

    def listdir(self, path):
        self._here()
        return [], list(self.kept)

    def url(self, name):
        self._here()
        return f"https://files.test/{name}"


class Waiting(NativeAsyncStorage):
    """A storage over an asynchronous client."""

    def __init__(self):
        self.kept, self.threads = {}, []

    async def _wait(self):
        self.threads.append(threading.current_thread().name)
        await asyncio.sleep(0)

    async def _aopen(self, name, mode="rb"):
        await self._wait()
        return ContentFile(self.kept[name], name)

    async def _asave(self, name, content):
        await self._wait()
        self.kept[name] = b"".join([chunk async for chunk in content.achunks()])
        return name

    async def adelete(self, name):
        await self._wait()
        del self.kept[name]

    async def aexists(self, name):
        await self._wait()
        return name in self.kept

    async def asize(self, name):
        await self._wait()
        return len(self.kept[name])

    async def alistdir(self, path):
        await self._wait()
        return [], list(self.kept)

    async def aurl(self, name):
        await self._wait()
        return f"https://files.test/{name}"


MAKE = {
    "disk": lambda folder: FileSystemStorage(folder, base_url="https://files.test/"),
    "memory": lambda folder: InMemoryStorage(base_url="https://files.test/"),
    "remote": lambda folder: Remote(),
    "native": lambda folder: Waiting(),
}


@pytest.fixture(params=MAKE)
def storage(request, tmp_path):
    return AsyncStorage(MAKE[request.param](tmp_path))


@pytest.fixture
def scans_in(monkeypatch):
    """Give the file field of `Scan` another storage."""
    field = Scan._meta.get_field("file")
    return lambda storage: monkeypatch.setattr(field, "storage", storage)


# --- the interface --------------------------------------------------------------------------


def test_what_is_saved_is_there_until_it_is_deleted(runner, storage):
    async def main():
        name = await storage.asave("a.txt", ContentFile(b"content"))
        assert name == "a.txt"
        assert await storage.aexists(name)
        assert await storage.asize(name) == 7
        assert await storage.aurl(name) == "https://files.test/a.txt"
        assert await storage.alistdir("") == ([], ["a.txt"])
        async with await storage.aopen(name) as file:
            assert await file.aread() == b"content"
        await storage.adelete(name)
        assert not await storage.aexists(name)

    runner.run(main())


def test_a_second_file_of_a_name_gets_another(runner, storage):
    async def main():
        return [await storage.asave("a.txt", ContentFile(b"x")) for _ in range(2)]

    first, second = runner.run(main())
    assert (first, second[:2]) == ("a.txt", "a_")


def test_the_name_may_be_the_contents(runner, storage):
    assert runner.run(storage.asave(None, ContentFile(b"x", name="named"))) == "named"


def test_a_file_like_object_is_saved(runner, storage, tmp_path):
    from io import BytesIO

    runner.run(storage.asave("a", BytesIO(b"content")))
    assert runner.run(storage.asize("a")) == 7


def test_max_length_shortens_the_name(runner, storage):
    name = runner.run(storage.asave("a" * 40 + ".txt", ContentFile(b"x"), max_length=20))
    assert len(name) == 20


def test_the_times_of_a_file(runner, tmp_path):
    storage = AsyncStorage(FileSystemStorage(tmp_path))

    async def main():
        await storage.asave("a", ContentFile(b"x"))
        for kind in ("accessed", "created", "modified"):
            aget = getattr(storage, f"aget_{kind}_time")
            assert await aget("a") == getattr(storage.storage, f"get_{kind}_time")("a")

    runner.run(main())


ASKS = {
    "save": lambda storage, name: storage.asave(name, ContentFile(b"x")),
    "open": AsyncStorage.aopen,
    "size": AsyncStorage.asize,
    "time": AsyncStorage.aget_modified_time,
    "list": AsyncStorage.alistdir,
    "delete": AsyncStorage.adelete,
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(
    "name",
    ["x" * 300, "x/" * 3000, "a\0b", "\ud800", "../x"],
    ids=["long name", "long path", "NUL", "half a character", "outside"],
)
def test_a_name_that_no_file_can_have_is_refused(runner, tmp_path, ask, name):
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(SuspiciousFileOperation):
        runner.run(ask(AsyncStorage(FileSystemStorage(root)), name))
    assert files_in(tmp_path) == {}


def test_a_storage_of_the_settings_is_found_by_its_alias(runner, media):
    runner.run(files.storage().asave("a", ContentFile(b"x")))
    assert files_in(media) == {"a": b"x"}
    runner.run(AsyncStorage(default_storage).adelete("a"))
    assert files_in(media) == {}
    with pytest.raises(InvalidStorageError, match="nowhere"):
        files.storage("nowhere")


# --- where it runs --------------------------------------------------------------------------

EXPECTED = {
    "disk": "onloop-files-disk",
    "remote": "onloop-files-remote",
    "native": "MainThread",
}


@pytest.mark.parametrize("kind", ["remote", "native"])
def test_each_storage_runs_where_it_belongs(runner, kind):
    storage = MAKE[kind](None)
    wrapper = AsyncStorage(storage)

    async def main():
        await wrapper.asave("a", ContentFile(b"x"))
        await wrapper.aopen("a")
        await wrapper.asize("a")
        await wrapper.aurl("a")
        await wrapper.alistdir("")
        await wrapper.adelete("a")

    runner.run(main())
    assert {name.rpartition("_")[0] or name for name in storage.threads} == {EXPECTED[kind]}


def test_a_file_field_on_somebodys_storage_does_not_hold_the_loop(runner, db_clean, scans_in):
    """Nor does Django's synchronous code, in a bridge."""
    storage = Remote()
    scans_in(storage)

    async def main():
        scan = Scan()
        await scan.file.asave("a", ContentFile(b"x"), save=False)
        await bridge.run(scan.file.save, "b", ContentFile(b"x"), save=False)
        await scan.file.adelete(save=False)

    runner.run(main())
    assert {name.rpartition("_")[0] for name in storage.threads} == {"onloop-files-remote"}


def test_a_storage_that_asks_the_database_leaves_no_connection_behind(runner, db_clean):
    class Asking(Remote):
        def exists(self, name):
            Author.objects.filter(name=name).exists()
            self.connection = connection.connection
            return super().exists(name)

    storage = Asking()
    assert runner.run(AsyncStorage(storage).aexists("a")) is False
    closed = getattr(storage.connection, "closed", None)
    if closed is None:  # SQLite's
        with pytest.raises(Exception, match="closed"):
            storage.connection.execute("SELECT 1")
    else:
        assert closed


def test_a_storage_that_waits_by_itself_works_in_plain_code_too():
    storage = Waiting()
    storage.save("a", ContentFile(b"x"))
    assert (storage.exists("a"), storage.size("a")) == (True, 1)
    storage.delete("a")
    assert storage.listdir("") == ([], [])


def test_a_storage_that_lacks_a_method_names_it(runner):
    class Bare(NativeAsyncStorage):
        pass

    for name in ("aexists", "adelete", "asize", "aurl", "alistdir", "aopen"):
        with pytest.raises(NotImplementedError, match=rf"Bare must define .* _?{name}\(\)"):
            runner.run(getattr(AsyncStorage(Bare()), name)("a"))


def test_a_file_that_awaits_by_itself_is_read_by_its_own_methods(runner, scans_in):
    class Body(File):
        async def aread(self, size=-1):
            return b"its own"

        async def achunks(self, chunk_size=None):
            yield b"its own"

    class Own(Waiting):
        async def _aopen(self, name, mode="rb"):
            return Body(None, name)

    scans_in(Own())

    async def main():
        scan = Scan(file="a")
        read = await scan.file.aread()
        return read, [chunk async for chunk in scan.file.achunks()]

    assert runner.run(main()) == (b"its own", [b"its own"])


# --- models ---------------------------------------------------------------------------------


async def test_a_model_is_saved_with_its_file(db_clean, media):
    scan = Scan(title="one")
    scan.file = ContentFile(b"content", name="a.txt")
    await scan.asave()
    assert files_in(media) == {"scans/a.txt": b"content"}
    assert (await Scan.objects.aget()).file.name == "scans/a.txt"


async def test_creating_a_model_saves_its_file(db_clean, media):
    await Scan.objects.acreate(file=ContentFile(b"content", name="a.txt"))
    assert files_in(media) == {"scans/a.txt": b"content"}


async def test_saving_a_model_does_not_hold_the_loop(db_clean, media):
    content = Slow()
    scan = Scan()
    scan.file = content
    saving = asyncio.create_task(scan.asave())
    await wait_for_thread(content.under_way)
    content.go_on.set()
    await saving
    assert threading.get_ident() not in content.threads
    assert await Scan.objects.acount() == 1


async def test_a_model_whose_saving_is_cancelled_leaves_neither_row_nor_file(db_clean, media):
    content = Slow()
    scan = Scan()
    scan.file = content
    saving = asyncio.create_task(scan.asave())
    await wait_for_thread(content.under_way)
    saving.cancel()
    await steps()
    content.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert files_in(media) == {}
    assert await Scan.objects.acount() == 0


async def test_a_fields_file_is_saved_and_deleted(db_clean, media):
    scan = await Scan.objects.acreate(title="one")
    await scan.file.asave("a.txt", ContentFile(b"content"))
    assert (await Scan.objects.aget()).file.name == "scans/a.txt"
    async with scan.file:
        assert await scan.file.aread() == b"content"
    await scan.file.adelete()
    assert files_in(media) == {}
    assert not (await Scan.objects.aget()).file
    await scan.file.adelete()  # nothing is there: nothing happens


async def test_without_save_the_row_stays_as_it_is(db_clean, media):
    scan = await Scan.objects.acreate(title="one")
    await scan.file.asave("a.txt", ContentFile(b"content"), save=False)
    assert not (await Scan.objects.aget()).file
    await scan.file.adelete(save=False)
    assert files_in(media) == {}


@pytest.mark.parametrize("kind", ["native", "memory"])
async def test_a_field_on_a_storage_without_threads(db_clean, kind, scans_in):
    storage = MAKE[kind](None)
    scans_in(storage)
    scan = Scan()
    await scan.file.asave("a.txt", ContentFile(b"content"))
    assert await AsyncStorage(storage).asize("scans/a.txt") == 7
    async with scan.file:
        assert await scan.file.aread() == b"content"
    await scan.file.adelete()
    assert not await AsyncStorage(storage).aexists("scans/a.txt")


def test_templates_may_not_save_or_delete():
    file = Scan().file
    assert file.asave.alters_data
    assert file.adelete.alters_data
