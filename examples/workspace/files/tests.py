"""What uploads leave in storage and database: two at once, and one that is cancelled."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import SimpleTestCase, TransactionTestCase, override_settings

from files import examining, storing
from files.models import StoredFile
from files.naming import BadName, clean_name
from workspace.background import PACKAGE


class NamesTest(SimpleTestCase):
    def test_the_last_part_of_a_path_is_the_name(self) -> None:
        for given, name in {
            "notes.txt": "notes.txt",
            "C:\\temp\\notes.txt": "notes.txt",
            "/etc/../passwd": "passwd",
            " .hidden. ": "hidden",
            "Cafe\N{COMBINING ACUTE ACCENT}": "Caf\N{LATIN SMALL LETTER E WITH ACUTE}",
        }.items():
            assert clean_name(given) == name

    def test_names_that_cannot_be_shown_are_refused(self) -> None:
        for given in ("", "..", "a/", "a\nb", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "\ud800", 5):
            try:
                clean_name(given)
            except BadName:
                continue
            raise AssertionError(f"{given!r} was taken")


class StoringTest(TransactionTestCase):
    def setUp(self) -> None:
        self.media = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(override_settings(MEDIA_ROOT=self.media))
        # Jobs are noted, and not run.
        dummy = {"BACKEND": f"{PACKAGE}.backends.dummy.DummyBackend"}
        self.enterContext(override_settings(TASKS={"default": dummy}))
        self.user = get_user_model().objects.create(username="ann")

    def bytes_left(self) -> list[Path]:
        return [path for path in self.media.rglob("*") if path.is_file()]

    async def store(self, size: int = 6) -> StoredFile:
        return await storing.store(self.user, "notes.txt", ContentFile(b"x" * size))

    async def test_two_uploads_at_once_do_not_share_the_last_room(self) -> None:
        with patch.object(storing, "MAX_BYTES_IN_ALL", 10):
            results: list[Any] = await asyncio.gather(
                self.store(), self.store(), return_exceptions=True
            )
        assert {type(result) for result in results} == {StoredFile, storing.NoRoom}
        assert await StoredFile.objects.acount() == 1
        assert len(self.bytes_left()) == 1

    async def test_bytes_whose_row_cannot_be_written_are_taken_away(self) -> None:
        self.user.pk = 10**9  # there is no such user
        (result,) = await asyncio.gather(self.store(), return_exceptions=True)
        assert isinstance(result, Exception)
        assert self.bytes_left() == []

    async def test_an_upload_that_is_cancelled_leaves_both_or_nothing(self) -> None:
        await self.cancel_everywhere(times=1)

    async def test_one_that_is_cancelled_twice_does_so_too(self) -> None:
        await self.cancel_everywhere(times=2)

    async def cancel_everywhere(self, times: int) -> None:
        """Cancel it at each of its turns on the loop, until there is none any more."""
        for turns in range(10_000):
            task = asyncio.ensure_future(self.store())
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            (result,) = await asyncio.gather(task, return_exceptions=True)
            # What takes the bytes away ends by itself.
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
            assert await StoredFile.objects.acount() == len(self.bytes_left())
            await StoredFile.objects.all().adelete()
            if not isinstance(result, asyncio.CancelledError):
                break
        assert isinstance(result, StoredFile)
        assert turns, "it was cancelled at least once"

    async def test_a_thumbnail_that_comes_as_its_file_goes_is_taken_away_too(self) -> None:
        file = await self.store()
        may_begin = asyncio.Event()

        async def delete() -> None:
            await may_begin.wait()
            await file.adelete()

        # Made here: a task that is made in the block would belong to its transaction.
        deleting = asyncio.ensure_future(delete())
        picture = storing.saved(self.user.pk, ContentFile(b"a picture"))
        async with picture as key, transaction.atomic():
            await examining.write(file, "", key)
            may_begin.set()
            # It gets as far as it can. If it is late, there is nothing to see.
            await asyncio.wait({deleting}, timeout=0.2)
        await deleting
        assert self.bytes_left() == []

    def test_bytes_go_when_the_row_goes_and_not_before(self) -> None:
        asyncio.run(self.store())
        file = StoredFile.objects.get()
        with transaction.atomic():
            file.delete()
            assert len(self.bytes_left()) == 1
        assert self.bytes_left() == []
