"""`python -m tests.workspace.screenshots`: pictures of the example's pages.

    python -m tests.workspace.screenshots FOLDER    every page: light and wide, dark and narrow
    python -m tests.workspace.screenshots --readme  those that the README shows

The example runs on SQLite, with its own data and nobody else in it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image
from playwright.async_api import Browser, Page, expect

from tests.postgres import ROOT
from tests.servers import AsgiServer, Serving, start
from tests.workspace.browser import chromium
from tests.workspace.conftest import PASSWORD, WORKSPACE
from tests.workspace.places import (
    EVERYBODY,
    LOOKS,
    address,
    as_deployed,
    manage,
    try_too_often,
    visit,
)

IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 150_000
# Seconds that a page's pictures and socket may take to come.
SETTLED_S = 1
LOAD_S = 60


@contextmanager
def example() -> Iterator[AsgiServer]:
    """The example as deployed, on data that are made for it and go with it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        env = {
            "DATABASE_URL": f"sqlite:///{folder / 'workspace.sqlite3'}",
            "DEMO_PASSWORD": PASSWORD,
            "DJANGO_SETTINGS_MODULE": "workspace.settings",
            "MEDIA_ROOT": str(folder / "media"),
            "PYTHONPATH": str(WORKSPACE),
            "SECRET_KEY": os.urandom(20).hex(),
        }
        manage(env, "migrate")
        manage(env, "seed")
        env = as_deployed(env, folder / "static")
        serving = Serving(application="workspace.asgi:application", env=tuple(env.items()))
        server = start(serving, folder)
        try:
            yield server
        finally:
            server.stop()


async def every_page(browser: Browser, url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for look, options in LOOKS.items():
        for user, places in EVERYBODY.items():
            async with visit(browser, url, user, **options) as page:
                for name, place in places.items():
                    await page.goto(await address(page, place))
                    await asyncio.sleep(SETTLED_S)
                    await page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                if user is None:
                    await try_too_often(page)
                    await page.screenshot(path=folder / f"log-in-locked-{look}.png")


async def of_the_readme(browser: Browser, url: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    light = {"viewport": {"width": 1200, "height": 750}, "color_scheme": "light"}
    dark = {**light, "color_scheme": "dark"}
    async with visit(browser, url, "demo", **light) as page:
        await page.goto("/catalogue/?max_price=60&in_stock=1&sort=newest")
        await picture(page, "catalogue")
    async with (
        visit(browser, url, "robin", **dark) as other,
        visit(browser, url, "demo", **dark) as page,
    ):
        await other.goto("/rooms/general/")
        await page.goto("/rooms/general/")
        await expect(page.locator("#present")).to_contain_text("robin")
        text = other.get_by_role("textbox", name="Message to General")
        await text.fill("That lamp sells itself. Tea is on me.")
        await text.press("Enter")
        await text.press_sequentially("I put the order")
        await expect(page.locator("#typing")).to_contain_text("robin")
        await picture(page, "room")
    async with visit(browser, url, "demo", **light) as page:
        await page.goto("/operations/")
        await under_load(url)
        await picture(page, "operations")


async def under_load(url: str) -> None:
    """Some traffic, for as long as it takes to draw a line."""
    ends = asyncio.get_running_loop().time() + LOAD_S
    paths = ["/", "/catalogue/", "/people/", "/catalogue/summary/", "/catalogue/?q=lamp"]

    async def visitor(number: int, client: httpx.AsyncClient) -> None:
        while (now := asyncio.get_running_loop().time()) < ends:
            await client.get(paths[number % len(paths)])
            await asyncio.sleep(0.05 * (1 + (number + int(now) // 7) % 5))

    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await asyncio.gather(*(visitor(number, client) for number in range(8)))


async def picture(page: Page, name: str) -> None:
    """Into the documentation's images, with few colours: it is downloaded with every README."""
    await asyncio.sleep(SETTLED_S)
    taken = Image.open(io.BytesIO(await page.screenshot()))
    path = IMAGES / f"{name}.png"
    taken.convert("RGB").quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {MAX_BYTES}: show less on it.")
    print(path.relative_to(ROOT), size)


async def main(folder: Path | None) -> None:
    with example() as server:
        async with chromium() as browser:
            if folder is None:
                await of_the_readme(browser, server.url)
            else:
                await every_page(browser, server.url, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("folder", nargs="?", type=Path)
    where.add_argument("--readme", action="store_true")
    asyncio.run(main(parser.parse_args().folder))
