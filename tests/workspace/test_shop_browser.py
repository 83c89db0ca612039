"""The example's shop as people see it, in headless Chromium."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.servers import AsgiServer
from tests.workspace.browser import DEADLINE_MS, person
from tests.workspace.test_catalogue import product_with_stock, stock_of
from tests.workspace.test_files_browser import fits
from tests.workspace.test_shop import sku_of

pytestmark = pytest.mark.timeout(180)
expect.set_options(timeout=DEADLINE_MS)

REFUSED = "Failed to load resource: the server responded with a status of 409 (Conflict)"


async def empty_basket(page: Page) -> None:
    """Take out one product after the other, each time on the page that shows what is left."""
    remove = page.get_by_role("button", name=re.compile("^Remove "))
    for left in range(await remove.count(), 0, -1):
        await remove.first.click()
        await expect(remove).to_have_count(left - 1)
    await expect(page.get_by_role("heading", name="There is nothing in it yet")).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
async def test_from_a_search_to_an_order_and_back(
    browser: Browser, asgi_server: AsgiServer, ahttp: httpx.AsyncClient, script: bool
) -> None:
    product = await product_with_stock(ahttp, 3)
    sku = await sku_of(ahttp, product)
    options = {"java_script_enabled": script, "color_scheme": "dark" if script else "light"}
    async with person(browser, "robin", asgi_server.url, "/basket/", **options) as robin:
        page = robin.page
        await empty_basket(page)
        await page.get_by_role("link", name="See what is in stock").click()

        # Search and filters, all of them in the address; each can be taken away again.
        await page.get_by_label("Search", exact=True).fill(sku)
        await page.get_by_label("Lowest price").fill("100")
        await page.get_by_role("button", name="Search").click()
        await expect(
            page.get_by_role("heading", name="Nothing fits all of that")
        ).to_be_visible()
        assert f"q={sku}" in page.url
        assert "min_price=100" in page.url
        assert "in_stock=1" in page.url
        await page.get_by_role("link", name="At any price").click()
        await expect(page.locator(".found").get_by_role("status")).to_have_text("1 product")

        await page.get_by_role("button", name="Add A lamp to the basket").click()
        assert f"q={sku}" in page.url  # where one was
        await expect(page.get_by_text("A lamp: 1 in your basket.")).to_be_visible()
        await page.get_by_role("link", name="A lamp", exact=True).click()
        await page.get_by_label("Quantity", exact=True).fill("2")
        await page.get_by_role("button", name="Add to basket").click()
        await page.get_by_role("link", name="Basket 3 items").click()

        # By keyboard, from the quantity on: Enter there updates.
        await page.get_by_label("Quantity of A lamp").fill("2")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Order for € 19.00")).to_be_visible()
        await page.get_by_label("E-mail address").fill("robin@example.org")
        await page.get_by_role("button", name="Order for € 19.00").click()
        await expect(page.get_by_role("heading", name="Order of ")).to_be_visible()
        await expect(page.get_by_text("Placed", exact=True)).to_be_visible()
        assert await stock_of(ahttp, product) == 1

        await page.set_viewport_size({"width": 320, "height": 640})
        assert not script or await fits(page)
        for path in ("/catalogue/", f"/catalogue/item/{sku}/", "/basket/", "/orders/"):
            await page.goto(robin.address + path)
            assert not script or await fits(page), path

        await page.goto(f"{robin.address}/orders/")
        await page.locator(".orders a", has_text="A lamp").first.click()
        await page.get_by_text("Cancel this order").click()
        await page.get_by_role("button", name="Cancel for good").click()
        await expect(page.get_by_text("its goods are back in stock")).to_be_visible()
        await expect(page.get_by_role("button", name="Cancel for good")).to_have_count(0)
        assert await stock_of(ahttp, product) == 3


async def test_two_browsers_order_the_last_item_at_once(
    browser: Browser, asgi_server: AsgiServer, ahttp: httpx.AsyncClient
) -> None:
    product = await product_with_stock(ahttp, 1)
    sku = await sku_of(ahttp, product)
    async with (
        person(browser, "demo", asgi_server.url, "/basket/") as demo,
        person(browser, "robin", asgi_server.url, "/basket/") as robin,
    ):
        for somebody in (demo, robin):
            page = somebody.page
            await empty_basket(page)
            await page.goto(f"{somebody.address}/catalogue/item/{sku}/")
            await page.get_by_role("button", name="Add to basket").click()
            await page.goto(f"{somebody.address}/basket/")
            await page.get_by_label("E-mail address").fill("somebody@example.org")
        # A click that does not wait for its page: both are under way before either is answered.
        for somebody in (demo, robin):
            await somebody.page.get_by_role("button", name="Order for").click(
                no_wait_after=True
            )
        got, missed = [], []
        for somebody in (demo, robin):
            page = somebody.page
            told = page.get_by_role("heading", name="Order of ")
            await expect(told.or_(page.get_by_role("alert"))).to_be_visible()
            (got if await told.count() else missed).append(somebody)
        assert (len(got), len(missed)) == (1, 1)
        page = missed[0].page
        await expect(page.get_by_role("alert")).to_contain_text("somebody was quicker")
        await expect(page.get_by_role("alert")).to_contain_text("A lamp: you want 1, sold out.")
        await expect(page.get_by_label("Quantity of A lamp")).to_have_value("1")
        await page.get_by_role("button", name="Take what there is").click()
        await expect(page.get_by_text("There is nothing in it yet")).to_be_visible()
        missed[0].errors.remove(REFUSED)
    assert await stock_of(ahttp, product) == 0
