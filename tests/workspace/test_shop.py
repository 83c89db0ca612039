"""The example's shop through its pages: many at once, and the same form twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import httpx
import pytest

from tests.servers import AsgiServer
from tests.workspace.shoppers import Shopper, run, shoppers
from tests.workspace.test_catalogue import product_with_stock, stock_of

# Fifty people on a busy machine.
pytestmark = pytest.mark.timeout(240)

ORDERS = """
import json, sys
from basket.models import BasketLine
from catalogue.models import Order
from catalogue.telling import owners
from notices.models import Notice

product, path = sys.argv[1:]
orders = Order.objects.filter(lines__product=product)
users = orders.values("user")
print(json.dumps({
    "buyers": len(set(users.values_list("user", flat=True))),
    "statuses": list(orders.values_list("status", flat=True)),
    "told": Notice.objects.filter(user__in=users).count(),
    "baskets": BasketLine.objects.filter(product=product).count(),
    "owners": owners().count(),
    "ran_out": Notice.objects.filter(path=path).count(),
}))
"""


async def sku_of(client: httpx.AsyncClient, product: int) -> str:
    return str((await client.get(f"/catalogue/products/{product}/")).json()["sku"])


def outcome(env: dict[str, str], product: int, sku: str) -> dict[str, object]:
    found = json.loads(run(env, ORDERS, str(product), f"/catalogue/item/{sku}/"))
    return dict(found)


async def test_50_shoppers_order_30_items_at_once_and_30_get_one(
    asgi_server: AsgiServer, workspace_env: dict[str, str], ahttp: httpx.AsyncClient
) -> None:
    product = await product_with_stock(ahttp, 30)
    sku = await sku_of(ahttp, product)
    roles = ["owner", *["guest"] * 50]
    async with shoppers(asgi_server, workspace_env, *roles) as (_, *everybody):
        await asyncio.gather(*(shopper.add(sku) for shopper in everybody))
        forms = await asyncio.gather(*(shopper.form() for shopper in everybody))
        answers = await asyncio.gather(
            *(
                shopper.post("/basket/check-out/", **form)
                for shopper, form in zip(everybody, forms, strict=True)
            )
        )
        assert Counter(answer.status_code for answer in answers) == {302: 30, 409: 20}
        for answer in answers:
            if answer.status_code == 409:
                assert "Your basket is kept." in answer.text
                assert "you want 1, sold out." in answer.text
                assert answer.text.count('name="remove"') == 1
    assert await stock_of(ahttp, product) == 0
    after = outcome(workspace_env, product, sku)
    assert (after["buyers"], after["statuses"], after["told"]) == (30, ["placed"] * 30, 30)
    assert after["baskets"] == 20
    # Each owner is told once that it has run out.
    assert after["ran_out"] == after["owners"] > 0


async def test_a_form_that_is_sent_five_times_at_once_orders_once(
    asgi_server: AsgiServer, workspace_env: dict[str, str], ahttp: httpx.AsyncClient
) -> None:
    product = await product_with_stock(ahttp, 10)
    sku = await sku_of(ahttp, product)
    async with shoppers(asgi_server, workspace_env, "guest") as (shopper,):
        await shopper.add(sku, 2)
        form = await shopper.form()
        answers = await asyncio.gather(
            *(shopper.post("/basket/check-out/", **form) for _ in range(5))
        )
        assert {answer.status_code for answer in answers} == {302}
        (address,) = {answer.headers["location"] for answer in answers}
        assert "A shopper" in (await shopper.client.get(address)).text
    assert await stock_of(ahttp, product) == 8
    assert outcome(workspace_env, product, sku)["statuses"] == ["placed"]


async def test_two_windows_of_one_user_order_a_basket_once(
    asgi_server: AsgiServer, workspace_env: dict[str, str], ahttp: httpx.AsyncClient
) -> None:
    """Each page has a key of its own; the second finds the basket empty."""
    product = await product_with_stock(ahttp, 10)
    sku = await sku_of(ahttp, product)
    async with shoppers(asgi_server, workspace_env, "guest") as (shopper,):
        await shopper.add(sku)
        forms = [await shopper.form() for _ in range(2)]
        answers = await asyncio.gather(
            *(shopper.post("/basket/check-out/", **form) for form in forms)
        )
        assert sorted(answer.status_code for answer in answers) == [302, 409]
    assert await stock_of(ahttp, product) == 9


async def test_products_added_at_once_are_all_in_the_basket(
    asgi_server: AsgiServer, workspace_env: dict[str, str], ahttp: httpx.AsyncClient
) -> None:
    sku = await sku_of(ahttp, await product_with_stock(ahttp, 10))
    async with shoppers(asgi_server, workspace_env, "guest") as (shopper,):
        await asyncio.gather(*(shopper.add(sku) for _ in range(4)))
        page = (await shopper.client.get("/basket/")).text
        assert 'value="4"' in page


async def test_orders_of_several_products_and_their_cancelling_at_once_add_up(
    asgi_server: AsgiServer, workspace_env: dict[str, str], ahttp: httpx.AsyncClient
) -> None:
    """Nobody waits for what the other holds, and every item is somewhere."""
    products = [await product_with_stock(ahttp, 20) for _ in range(2)]
    skus = [await sku_of(ahttp, product) for product in products]

    async def order_and_cancel(shopper: Shopper, number: int) -> None:
        for sku in skus if number % 2 else reversed(skus):
            await shopper.add(sku)
        placed = await shopper.post("/basket/check-out/", **await shopper.form())
        assert placed.status_code == 302, placed.text
        if number % 3 == 0:
            address = placed.headers["location"]
            cancelled = await asyncio.gather(
                *(shopper.post(f"{address}cancel/") for _ in range(2))
            )
            assert {answer.status_code for answer in cancelled} == {302}

    async with shoppers(asgi_server, workspace_env, *["guest"] * 12) as everybody:
        await asyncio.gather(
            *(order_and_cancel(shopper, number) for number, shopper in enumerate(everybody))
        )
    for product in products:
        assert await stock_of(ahttp, product) == 20 - 8
