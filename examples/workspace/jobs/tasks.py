"""The jobs: thin, as views are. Each is begun with the work's number and the attempt's."""

import logging
from collections.abc import Awaitable, Callable

from jobs import exporting, importing, reporting
from jobs.attempts import Attempt, Refused, Superseded
from jobs.models import Work
from workspace.background import task

logger = logging.getLogger(__name__)


@task
async def import_products(work_id: int, number: int) -> None:
    await _run(importing.run, Attempt(work_id, number))


@task
async def export_products(work_id: int, number: int) -> None:
    await _run(exporting.run, Attempt(work_id, number))


@task
async def report_on_files(work_id: int, number: int) -> None:
    await _run(reporting.run, Attempt(work_id, number))


OF_KIND = {
    Work.Kind.IMPORT: import_products,
    Work.Kind.EXPORT: export_products,
    Work.Kind.REPORT: report_on_files,
}


async def _run(function: Callable[[Attempt, Work], Awaitable[None]], attempt: Attempt) -> None:
    try:
        try:
            await function(attempt, await attempt.work())
        except Refused as error:
            await attempt.end("was refused", problem=str(error)[:300])
        except Superseded:
            raise
        except Exception:
            await attempt.end("failed")
            raise
        else:
            await attempt.end("is done")
    except Superseded:
        logger.info("Attempt %d at work %d is not the newest.", attempt.number, attempt.work_id)
