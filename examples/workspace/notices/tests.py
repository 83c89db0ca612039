"""``manage.py test``: what users are told."""

from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import TestCase

from notices import services
from notices.models import MAX_TEXT, Notice


class NoticeTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada"), create("ben")

    async def test_each_user_is_told_once_and_reads_for_itself(self) -> None:
        await services.notify(
            [self.ada, self.ben.pk, self.ada], Notice.Kind.JOB, "Done", "/jobs/"
        )
        of_ada = await Notice.objects.aget(user=self.ada)
        assert await Notice.objects.acount() == 2
        await services.mark_read(self.ada, of_ada.pk)
        unread = await Notice.objects.filter(read=None).aget()
        assert unread.user_id == self.ben.pk

    async def test_what_is_rolled_back_was_never_told(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            try:
                async with transaction.atomic():
                    await services.notify([self.ada], Notice.Kind.JOB, "Done")
                    raise LookupError
            except LookupError:
                pass
        assert not callbacks
        assert not await Notice.objects.aexists()

    async def test_a_long_text_is_cut(self) -> None:
        await services.notify([self.ada], Notice.Kind.ROOM, "word " * MAX_TEXT)
        notice = await Notice.objects.aget()
        assert len(notice.text) <= MAX_TEXT
        assert notice.text.endswith("…")
