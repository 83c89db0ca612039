"""What libpq can only do by blocking, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


async def in_thread(function: Callable[[], None]) -> None:
    """Call what blocks for nobody knows how long: libpq before 17 has nothing better.

    Not in the loop's executor, which a loop waits for when it ends. (psycopg's C version keeps
    the interpreter's lock meanwhile, so that nothing is gained there; its binary wheels have
    libpq 17.)
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(exc: Exception | None) -> None:
        if not done.done():
            done.set_result(None) if exc is None else done.set_exception(exc)

    def work() -> None:
        failed = None
        try:
            function()
        except Exception as exc:  # noqa: BLE001 - it is the caller's
            failed = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, failed)

    threading.Thread(target=work, name="onloop-cancel", daemon=True).start()
    await done
