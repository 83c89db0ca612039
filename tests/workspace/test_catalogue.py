"""Products and orders of the example service."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.workspace.members import log_in

CUSTOMER = {"name": "A buyer", "email": "buyer@example.com"}


def order_of(*lines: tuple[int, Any]) -> dict[str, Any]:
    return {
        "customer": CUSTOMER,
        "lines": [{"product": product, "quantity": quantity} for product, quantity in lines],
    }


async def product_with_stock(client: httpx.AsyncClient, stock: int) -> int:
    """Make a new product over the REST API and return its id."""
    await log_in(client)
    token = {"X-CSRFToken": client.cookies["csrftoken"]}
    categories = (await client.get("/api/categories/")).json()
    category = categories["results"][0]["id"]
    new = {
        "name": "A lamp",
        "sku": f"TEST-{asyncio.get_running_loop().time():.6f}".replace(".", "-")[:20],
        "category": category,
        "price": "9.50",
        "stock": stock,
    }
    made = await client.post("/api/products/", json=new, headers=token)
    assert made.status_code == 201, made.text
    product = int(made.json()["id"])
    if made.json()["stock"] != stock:  # stock changes by differences only
        changed = await client.post(
            f"/api/products/{product}/adjust-stock/", json={"change": stock}, headers=token
        )
        assert changed.status_code == 200, changed.text
    return product


async def stock_of(client: httpx.AsyncClient, product: int) -> int:
    return int((await client.get(f"/catalogue/products/{product}/")).json()["stock"])


async def test_500_orders_against_a_stock_of_300_sell_exactly_300(
    ahttp: httpx.AsyncClient,
) -> None:
    product = await product_with_stock(ahttp, 300)
    answers = await asyncio.gather(
        *(ahttp.post("/catalogue/orders/", json=order_of((product, 1))) for _ in range(500))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 300, 409: 200}
    assert await stock_of(ahttp, product) == 0


async def test_orders_for_several_products_in_any_order_take_all_or_nothing(
    ahttp: httpx.AsyncClient,
) -> None:
    first = await product_with_stock(ahttp, 20)
    second = await product_with_stock(ahttp, 10)
    bodies = [
        order_of((first, 1), (second, 1)) if number % 2 else order_of((second, 1), (first, 1))
        for number in range(40)
    ]
    answers = await asyncio.gather(
        *(ahttp.post("/catalogue/orders/", json=body) for body in bodies)
    )
    assert Counter(answer.status_code for answer in answers) == {201: 10, 409: 30}
    assert await stock_of(ahttp, first) == 10
    assert await stock_of(ahttp, second) == 0


async def test_an_order_that_is_cancelled_twice_at_once_returns_its_stock_once(
    ahttp: httpx.AsyncClient,
) -> None:
    product = await product_with_stock(ahttp, 5)
    placed = await ahttp.post("/catalogue/orders/", json=order_of((product, 3)))
    assert placed.status_code == 201
    address = placed.headers["location"]
    answers = await asyncio.gather(
        *(ahttp.post(f"{address}cancel/", json={}) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert await stock_of(ahttp, product) == 5


async def test_a_short_order_names_what_is_not_there(ahttp: httpx.AsyncClient) -> None:
    product = await product_with_stock(ahttp, 2)
    answer = await ahttp.post("/catalogue/orders/", json=order_of((product, 3)))
    assert answer.status_code == 409
    (line,) = answer.json()["error"]["fields"]["lines"]
    assert (line["product"], line["wanted"], line["in_stock"]) == (product, 3, 2)
    assert await stock_of(ahttp, product) == 2


@pytest.mark.parametrize("quantity", [0, -1, 1.5, "x", True, None, 10**12])
async def test_a_bad_quantity_is_a_400(ahttp: httpx.AsyncClient, quantity: Any) -> None:
    answer = await ahttp.post("/catalogue/orders/", json=order_of((1, quantity)))
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"]


async def test_an_unknown_product_is_a_404(ahttp: httpx.AsyncClient) -> None:
    answer = await ahttp.post("/catalogue/orders/", json=order_of((10**9, 1)))
    assert answer.status_code == 404


async def test_the_summary_runs_ten_queries(ahttp: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(ahttp.get("/catalogue/summary/") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers[0].json()) == 10


async def test_the_shop_page_shows_products_with_their_categories(
    ahttp: httpx.AsyncClient,
) -> None:
    page = await ahttp.get("/catalogue/")
    assert page.status_code == 200
    product = (await ahttp.get("/catalogue/products/")).json()["items"][0]
    found = await ahttp.get("/catalogue/", params={"q": product["name"]})
    assert product["name"] in found.text
    assert (await ahttp.get("/catalogue/", params={"page": "x"})).status_code == 400
    assert (await ahttp.get("/catalogue/", params={"page": str(10**9)})).status_code == 404


async def test_the_admin_lists_adds_and_refuses(ahttp: httpx.AsyncClient) -> None:
    away = await ahttp.get("/admin/catalogue/product/")
    assert away.status_code == 302
    await log_in(ahttp)
    listing = await ahttp.get("/admin/catalogue/product/", params={"q": "lamp"})
    assert listing.status_code == 200
    form = {
        "name": "Things for tests",
        "slug": "things-for-tests",
        "csrfmiddlewaretoken": ahttp.cookies["csrftoken"],
    }
    added = await ahttp.post("/admin/catalogue/category/add/", data=form)
    assert added.status_code == 302, added.text
    again = await ahttp.post("/admin/catalogue/category/add/", data=form)
    assert again.status_code == 200
    assert "already exists" in again.text
    del form["csrfmiddlewaretoken"]
    forged = await ahttp.post("/admin/catalogue/category/add/", data=form)
    assert forged.status_code == 403
