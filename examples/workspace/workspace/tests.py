"""``manage.py test``: what the apps have in common."""

import asyncio
import logging

from django.test import TransactionTestCase

from workspace import jobids, requestid
from workspace.background import PACKAGE, task

TIMEOUT_S = 90


@task
async def tell() -> str:
    """What a job logs is logged under this."""
    return requestid.current.get()


class JobIdTests(TransactionTestCase):
    async def test_a_job_logs_under_the_id_of_the_request_that_wanted_it(self) -> None:
        ids = ["request-one", "request-two"]
        jobs = []
        for each in ids:
            requestid.begin(each)
            jobs.append(await tell.aenqueue())
        async with asyncio.timeout(TIMEOUT_S):
            while not all(job.is_finished for job in jobs):
                await asyncio.sleep(0.01)
                for job in jobs:
                    await job.arefresh()
        assert [job.return_value for job in jobs] == ids
        assert jobids._wanted_by.keys().isdisjoint(job.id for job in jobs)

    async def test_so_do_the_lines_that_tell_of_its_beginning_and_its_end(self) -> None:
        requestid.begin("request-three")
        with self.assertLogs(PACKAGE, "DEBUG") as told:
            logging.getLogger(PACKAGE).handlers[0].addFilter(requestid.AddsRequestId())
            job = await tell.aenqueue()
            requestid.begin("another-one")
            async with asyncio.timeout(TIMEOUT_S):
                while not job.is_finished:
                    await asyncio.sleep(0.01)
                    await job.arefresh()
        lines = [record for record in told.records if job.id in record.getMessage()]
        assert any("RUNNING" in record.getMessage() for record in lines)
        assert {record.request_id for record in lines} == {"request-three"}
