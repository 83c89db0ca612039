"""``manage.py test``: baskets, and orders from them."""

import re
import uuid
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.urls import reverse

from basket import services
from basket.forms import read_quantities
from basket.models import BasketLine
from catalogue.forms import MAX_LINES, MAX_QUANTITY
from catalogue.models import Order, Product
from catalogue.services import OutOfStock, UnknownProducts
from catalogue.tests import ShopCase


class BasketCase(ShopCase):
    async def content(self, user: Any = None) -> dict[str, int]:
        lines = services.lines_of(user or self.guest).values_list("product__sku", "quantity")
        return dict(await lines.alist())


class BasketTests(BasketCase):
    async def test_what_is_added_again_is_added_up(self) -> None:
        await services.add(self.guest, "L-1", 2)
        await services.add(self.guest, "L-1", 3)
        await services.add(self.other, "L-1", 1)
        assert await self.content() == {"L-1": 5}
        assert await self.content(self.other) == {"L-1": 1}

    async def test_more_than_there_is_is_not_added(self) -> None:
        await services.add(self.guest, "L-1", 4)
        with self.assertRaises(OutOfStock) as caught:
            await services.add(self.guest, "L-1", 2)
        assert caught.exception.shortages[0].wanted == 6
        with self.assertRaises(OutOfStock):
            await services.add(self.guest, "L-2", 1)
        with self.assertRaises(UnknownProducts):
            await services.add(self.guest, "L-3", 1)
        assert await self.content() == {"L-1": 4}

    async def test_a_basket_has_bounds(self) -> None:
        await Product.objects.filter(sku="L-1").aupdate(stock=MAX_QUANTITY + 1)
        with self.assertRaises(services.Full):
            await services.add(self.guest, "L-1", MAX_QUANTITY + 1)
        many = [
            Product(category_id=self.desk.category_id, sku=f"X-{number}", name="X", price=1)
            for number in range(MAX_LINES)
        ]
        await BasketLine.objects.abulk_create(
            BasketLine(user=self.guest, product=product, quantity=1)
            for product in await Product.objects.abulk_create(many)
        )
        with self.assertRaises(services.Full):
            await services.add(self.guest, "L-1", 1)

    async def test_quantities_change_and_0_takes_out(self) -> None:
        await services.add(self.guest, "L-1", 1)
        await services.add(self.guest, "T-1", 1)
        await services.set_quantities(
            self.guest, {self.desk.pk: 3, self.pot.pk: 0, self.floor.pk: 7}
        )
        assert await self.content() == {"L-1": 3}

    async def test_it_takes_somebody_who_is_logged_in(self) -> None:
        with self.assertRaises(PermissionDenied):
            await services.add(AnonymousUser(), "L-1", 1)

    async def test_a_basket_can_be_lowered_to_what_is_in_stock(self) -> None:
        await services.add(self.guest, "L-1", 5)
        await services.add(self.guest, "T-1", 2)
        await Product.objects.filter(sku="L-1").aupdate(stock=3)
        await Product.objects.filter(sku="T-1").aupdate(stock=0)
        await services.take_what_there_is(self.guest)
        assert await self.content() == {"L-1": 3}


class CheckOutTests(BasketCase):
    async def check_out(self, **changes: Any) -> Order:
        basket = await services.basket_of(self.guest)
        values = {"key": uuid.uuid4(), "seen": basket.mark} | changes
        return await services.check_out(
            self.guest, name="Gus", email="gus@example.org", **values
        )

    async def test_a_basket_becomes_an_order_once(self) -> None:
        await services.add(self.guest, "L-1", 2)
        key = uuid.uuid4()
        order = await self.check_out(key=key)
        assert (order.user_id, order.total) == (self.guest.pk, 80)
        assert await self.content() == {}
        assert await self.check_out(key=key) == order
        with self.assertRaises(services.Empty):
            await self.check_out()
        assert await self.stock(self.desk) == 3

    async def test_what_nobody_has_seen_is_not_ordered(self) -> None:
        await services.add(self.guest, "L-1", 1)
        seen = (await services.basket_of(self.guest)).mark
        for change in ("price", "quantity", "field"):
            with self.subTest(change), self.assertRaises(services.Changed):
                fields = {}
                if change == "price":
                    await Product.objects.filter(sku="L-1").aupdate(price=41)
                elif change == "quantity":
                    await Product.objects.filter(sku="L-1").aupdate(price=40)
                    await services.set_quantities(self.guest, {self.desk.pk: 2})
                else:
                    await services.set_quantities(self.guest, {self.desk.pk: 1})
                    fields = {self.desk.pk: 3}
                await self.check_out(seen=seen, quantities=fields)
        await self.check_out(seen=seen, quantities={self.desk.pk: 1})

    async def test_what_is_gone_leaves_the_basket_as_it_was(self) -> None:
        await services.add(self.guest, "L-1", 1)
        await services.add(self.guest, "T-1", 2)
        await Product.objects.filter(sku="T-1").aupdate(stock=1)
        with self.assertRaises(OutOfStock) as caught:
            await self.check_out()
        assert [each.product.sku for each in caught.exception.shortages] == ["T-1"]
        assert await self.content() == {"L-1": 1, "T-1": 2}
        assert await self.stock(self.desk) == 5


class BasketPageTests(BasketCase):
    async def add(self, **values: Any) -> HttpResponse:
        values = {"sku": "L-1", "quantity": 1, "next": reverse("shop"), **values}
        return await self.post(self.guest, reverse("basket-add"), **values)

    async def test_who_is_not_logged_in_is_asked_to_and_comes_back_to_the_basket(self) -> None:
        for name in ("basket", "basket-add", "basket-change", "check-out"):
            with self.subTest(name):
                self.async_client.logout()
                answer = await self.async_client.post(reverse(name))
                assert answer.status_code == 302
                assert answer["Location"].startswith(reverse("login"))
                await self.async_client.aforce_login(self.guest)
                assert (
                    await self.async_client.get(reverse(name), follow=True)
                ).status_code == 200

    async def test_adding_leads_back_to_where_one_was_but_never_away(self) -> None:
        assert (await self.add())["Location"] == reverse("shop")
        for path in ("//example.org/", "https://example.org/", "nowhere", ""):
            assert (await self.add(next=path))["Location"] == reverse("basket")

    async def test_why_something_was_not_added_is_said(self) -> None:
        for values, told in [
            ({"sku": "L-2"}, "Floor lamp, oak has just sold out."),
            ({"quantity": 6}, "Only 5 of Desk lamp, oak in stock."),
            ({"quantity": "x"}, "Choose a whole number from 1 to 10,000."),
        ]:
            with self.subTest(told):
                await self.add(**values)
                self.assertContains(await self.async_client.get(reverse("basket")), told)
        assert (await self.add(sku="L-9")).status_code == 404

    async def test_a_quantity_that_is_none_is_said_beside_its_field(self) -> None:
        await self.add()
        field = f"quantity-{self.desk.pk}"
        for path in ("basket-change", "check-out"):
            page = await self.post(self.guest, reverse(path), **{field: "-1"})
            self.assertContains(page, "Must be a whole number from 0", status_code=400)
            self.assertContains(page, 'value="-1"', status_code=400)
        await self.post(self.guest, reverse("basket-change"), **{field: "3"})
        assert await self.content() == {"L-1": 3}
        await self.post(self.guest, reverse("basket-change"), remove=self.desk.pk)
        self.assertContains(await self.async_client.get(reverse("basket")), "nothing in it yet")

    async def test_the_form_orders_and_its_mistakes_are_said(self) -> None:
        await self.add(quantity=2)
        page = (await self.async_client.get(reverse("basket"))).content.decode()
        sent = {
            name: re.search(f'name="{name}" value="([^"]+)"', page)[1]
            for name in ("key", "seen")
        } | {"name": "Gus", "email": "gus@example.org", f"quantity-{self.desk.pk}": "2"}
        path = reverse("check-out")
        wrong = await self.post(self.guest, path, **{**sent, "email": "nobody"})
        self.assertContains(wrong, "valid email", status_code=400)
        wrong = await self.post(self.guest, path, **{**sent, "key": "x"})
        self.assertContains(wrong, "the page was incomplete", status_code=400)
        changed = await self.post(self.guest, path, **{**sent, f"quantity-{self.desk.pk}": "1"})
        self.assertContains(changed, "have changed", status_code=409)
        assert await self.content() == {"L-1": 1}
        await self.add()
        order = await self.post(self.guest, path, **sent)
        assert order.status_code == 302
        again = await self.post(self.guest, path, **sent)
        assert again["Location"] == order["Location"]
        late = await self.post(self.guest, path, **{**sent, "key": uuid.uuid4()})
        self.assertContains(late, "Nothing was ordered", status_code=409)
        assert await Order.objects.acount() == 1

    async def test_what_runs_short_is_said_before_it_is_ordered(self) -> None:
        await self.add(quantity=3)
        await Product.objects.filter(sku="L-1").aupdate(stock=2)
        page = await self.async_client.get(reverse("basket"))
        self.assertContains(page, "Only 2 left")
        self.assertNotContains(page, "Order for")
        await self.post(self.guest, reverse("basket-change"), fit=1)
        assert await self.content() == {"L-1": 2}

    def test_quantities_are_whole_numbers_of_products(self) -> None:
        sent = {"quantity-1": " 2 ", "quantity-2": "1.5", "quantity-x": "1", "name": "3"}
        sent |= {"quantity-3": "10001", "quantity-4": "٣", "quantity-" + "9" * 30: "1"}
        assert read_quantities(sent) == ({1: 2}, {2: "1.5", 3: "10001", 4: "٣"})
