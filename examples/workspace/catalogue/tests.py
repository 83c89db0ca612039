"""``manage.py test``: what the catalogue finds, and whose an order is."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpResponse
from django.test import TestCase
from django.urls import reverse
from django.utils import timezone

from accounts.models import Profile, Role
from catalogue import order_pages, search, services
from catalogue.models import Category, Order, Product
from notices.models import Notice
from workspace.api import ApiError


class ShopCase(TestCase):
    """Two categories, three products, somebody of each role."""

    @classmethod
    def setUpTestData(cls) -> None:
        lamps = Category.objects.create(name="Lamps", slug="lamps")
        tea = Category.objects.create(name="Tea", slug="tea")
        make = Product.objects.create
        cls.desk = make(category=lamps, sku="L-1", name="Desk lamp, oak", price=40, stock=5)
        cls.floor = make(category=lamps, sku="L-2", name="Floor lamp, oak", price=90, stock=0)
        cls.pot = make(category=tea, sku="T-1", name="Teapot, clay", price="25.50", stock=2)
        users = get_user_model().objects
        cls.owner, cls.guest, cls.other = (
            users.create_user(name, f"{name}@example.org")
            for name in ("owner", "guest", "other")
        )
        Profile.objects.create(user=cls.owner, role=Role.OWNER)
        for user in (cls.guest, cls.other):
            Profile.objects.create(user=user, role=Role.GUEST)

    async def order(self, wanted: dict[int, int] | None = None, **values: Any) -> Order:
        values = {"buyer": self.guest, **values}
        return await services.place_order(
            "Gus", "gus@example.org", wanted or {self.desk.pk: 1}, **values
        )

    async def stock(self, product: Product) -> int:
        await product.arefresh_from_db()
        return product.stock

    async def told(self, user: Any) -> list[str]:
        notices = Notice.objects.filter(user=user).order_by("pk")
        return await notices.values_list("text", flat=True).alist()

    async def get(self, user: Any, path: str, **data: str) -> HttpResponse:
        if user is not None:
            await self.async_client.aforce_login(user)
        return await self.async_client.get(path, data)

    async def post(self, user: Any, path: str, **data: Any) -> HttpResponse:
        await self.async_client.aforce_login(user)
        return await self.async_client.post(path, data)


class SearchTests(ShopCase):
    async def found(self, **query: str) -> list[str]:
        products = await search.find(search.read(query))
        return await products.values_list("sku", flat=True).alist()

    async def test_each_word_is_in_the_name_the_sku_or_the_category(self) -> None:
        assert await self.found(q="lamps oak") == ["L-1", "L-2"]
        assert await self.found(q="OAK desk") == ["L-1"]
        assert await self.found(q="t-1") == ["T-1"]
        assert await self.found(q="teapot oak") == []

    async def test_filters_narrow_each_other(self) -> None:
        assert await self.found(category="lamps", in_stock="1") == ["L-1"]
        assert await self.found(min_price="25,50", max_price="40") == ["L-1", "T-1"]
        assert await self.found(min_price="40.01") == ["L-2"]

    async def test_the_order_is_chosen(self) -> None:
        assert await self.found(sort="price") == ["T-1", "L-1", "L-2"]
        assert await self.found(sort="-price") == ["L-2", "L-1", "T-1"]
        assert await self.found(sort="newest") == ["T-1", "L-2", "L-1"]

    async def test_all_that_is_wrong_is_named(self) -> None:
        for query, wrong in [
            ({"min_price": "abc", "sort": "stock", "q": "\0"}, {"min_price", "sort", "q"}),
            ({"min_price": "9", "max_price": "8.99"}, {"max_price"}),
            ({"in_stock": "yes"}, {"in_stock"}),
        ]:
            with self.subTest(query), self.assertRaises(ApiError) as caught:
                search.read(query)
            assert caught.exception.status == 400
            assert set(caught.exception.fields) == wrong

    async def test_a_search_in_vain_is_shown_wider_ones(self) -> None:
        query = {"q": "teapot oak", "category": "lamps"}
        wider = await search.wider(search.read(query))
        assert [(way.text, way.found) for way in wider] == [
            ("For “oak” alone", 2),
            ("Without the words", 2),
        ]
        page = await self.get(None, reverse("shop"), **query)
        self.assertContains(page, "?q=oak&amp;category=lamps")

    async def test_a_page_with_a_mistake_keeps_what_was_typed(self) -> None:
        page = await self.get(None, reverse("shop"), q="lamp", min_price="1.234")
        self.assertContains(page, "Must be a price such as 12.50.", status_code=400)
        self.assertContains(page, 'value="1.234"', status_code=400)


class OrderTests(ShopCase):
    async def test_the_same_key_orders_once(self) -> None:
        key = uuid.uuid4()
        first = await self.order(key=key)
        assert await self.order(key=key) == first
        assert await self.stock(self.desk) == 4
        others = await self.order(key=key, buyer=self.other)  # a key is its buyer's
        assert others != first
        assert await self.told(self.guest) == [
            "Your order of 1 item for €\N{NO-BREAK SPACE}40.00 is placed."
        ]

    async def test_owners_learn_what_ran_out_and_only_what_did(self) -> None:
        await self.order({self.desk.pk: 4, self.pot.pk: 2})
        assert await self.told(self.owner) == ["Teapot, clay has run out."]
        notice = await Notice.objects.aget(user=self.owner)
        assert notice.path == reverse("item", args=["T-1"])

    async def test_what_is_refused_is_told_to_nobody(self) -> None:
        with self.assertRaises(services.OutOfStock):
            await self.order({self.desk.pk: 5, self.pot.pk: 3})
        with self.assertRaises(LookupError):
            async with transaction.atomic():
                await self.order({self.pot.pk: 2})
                raise LookupError
        assert not await Notice.objects.aexists()
        assert await self.stock(self.pot) == 2

    async def test_who_cancels_an_order_of_somebody_else_is_not_told_the_buyer_is(self) -> None:
        for by, told in ((self.owner, 2), (self.guest, 1)):
            with self.subTest(by.username):
                await Notice.objects.all().adelete()
                order = await self.order({self.desk.pk: 5})
                orders = services.visible_to(by)
                await services.cancel_order(order.reference, orders, by=by)
                assert len(await self.told(self.guest)) == told
                assert await self.stock(self.desk) == 5
        with self.assertRaises(services.AlreadyCancelled):
            await services.cancel_order(order.reference, orders, by=by)

    async def test_the_order_stays_when_its_buyer_goes(self) -> None:
        order = await self.order(key=uuid.uuid4())
        await self.guest.adelete()
        await order.arefresh_from_db()
        assert order.user_id is None
        assert order.total == Decimal(40)


class OrderPagesTests(ShopCase):
    async def test_an_order_is_for_its_buyer_and_for_owners(self) -> None:
        order = await self.order()
        page = reverse("order-page", args=[order.reference])
        cancel = reverse("order-page-cancel", args=[order.reference])
        assert (await self.get(None, page)).status_code == 302
        assert (await self.get(self.other, page)).status_code == 404
        assert (await self.post(self.other, cancel)).status_code == 404
        for user in (self.guest, self.owner):
            self.assertContains(await self.get(user, page), "Desk lamp, oak")
        done = await self.post(self.owner, cancel)
        self.assertRedirects(done, page, fetch_redirect_response=False)
        again = await self.async_client.post(cancel, follow=True)
        self.assertContains(again, "This order was cancelled before.")
        assert await self.stock(self.desk) == 5

    async def test_a_reference_alone_opens_only_orders_without_an_account(self) -> None:
        own, anonymous = await self.order(), await self.order(buyer=None)
        for order, status in ((own, 404), (anonymous, 200)):
            path = reverse("order", args=[order.reference])
            assert (await self.get(None, path)).status_code == status
            cancelled = await self.async_client.post(
                f"{path}cancel/", {}, content_type="application/json"
            )
            assert cancelled.status_code == status

    async def test_lists_have_ones_own_orders_and_all_for_owners(self) -> None:
        await self.order()
        await self.order({self.pot.pk: 1}, buyer=self.other)
        mine, everybodys = reverse("my-orders"), reverse("all-orders")
        page = await self.get(self.guest, mine)
        self.assertContains(page, "Desk lamp, oak")
        self.assertNotContains(page, "Teapot")
        assert (await self.get(self.guest, everybodys)).status_code == 403
        page = await self.get(self.owner, everybodys, q="teapot", status="placed")
        self.assertContains(page, "Teapot, clay")
        self.assertNotContains(page, "Desk lamp")
        self.assertContains(await self.get(self.owner, mine), "You have not ordered anything")
        wrong = await self.get(self.owner, mine, status="lost")
        self.assertContains(wrong, "Must be one of", status_code=400)

    async def test_the_newest_order_is_the_first_on_the_first_page(self) -> None:
        for number in range(order_pages.PER_PAGE + 1):
            # The later ones are written first.
            at = timezone.now() - timedelta(hours=number)
            await Order.objects.acreate(
                user=self.guest, customer_name=f"No {number}", total=number, created_at=at
            )
        shown = []
        for page in ("1", "2"):
            answer = await self.get(self.guest, reverse("my-orders"), page=page)
            shown += [order.total for order in answer.context["orders"]]
        assert shown == list(range(order_pages.PER_PAGE + 1))

    async def test_the_stock_is_changed_by_owners_and_stays_in_its_bounds(self) -> None:
        path = reverse("item-stock", args=["L-1"])
        assert (await self.post(self.guest, path, change=3)).status_code == 403
        self.assertNotContains(
            await self.get(self.guest, reverse("item", args=["L-1"])), "Change the stock"
        )
        for change, status, stock in [(3, 302, 8), (-9, 409, 8), ("x", 400, 8), (0, 400, 8)]:
            with self.subTest(change):
                answer = await self.post(self.owner, path, change=change)
                assert answer.status_code == status
                assert await self.stock(self.desk) == stock
