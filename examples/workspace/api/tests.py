"""``manage.py test``: the API for programs; more of it, on servers, in tests/workspace."""

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import resolve

from accounts.models import Profile, Role
from catalogue.models import Category, Product
from onloop.asgi.places import place_of
from onloop.tokens.models import Token
from rooms.models import Membership, Room

PROBLEM = "application/problem+json"


class ApiTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.tokens = {}
        for role in Role:
            user = get_user_model().objects.create_user(role.value)
            Profile.objects.create(user=user, role=role)
            _, cls.tokens[role] = Token.issue(user, name="a test")
        room = Room.objects.create(slug="boats", name="Boats", is_open=True)
        for user in get_user_model().objects.all():
            Membership.objects.create(room=room, user=user)
        category = Category.objects.create(name="Lamps", slug="lamps")
        cls.product = Product.objects.create(
            category=category, sku="L-1", name="Lamp", price="9.50", stock=3
        )

    async def ask(self, role: Role | None, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return await self.async_client.generic(
            method,
            f"/api/{path}",
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers=headers,
        )

    async def statuses(self, method: str, path: str, body: Any = None) -> list[int]:
        """As nobody, a guest, a member and an owner."""
        asking = (None, Role.GUEST, Role.MEMBER, Role.OWNER)
        return [(await self.ask(role, method, path, body)).status_code for role in asking]

    async def test_what_each_role_may_do(self) -> None:
        lamp = f"products/{self.product.pk}/"
        assert await self.statuses("GET", lamp) == [200, 200, 200, 200]
        assert await self.statuses("PATCH", lamp, {"name": "A lamp"}) == [401, 403, 403, 200]
        said = {"text": "Ahoy"}
        assert await self.statuses("POST", "rooms/boats/messages/", said) == [
            401,
            403,
            201,
            201,
        ]
        line = {"sku": "L-1", "quantity": 1}
        assert await self.statuses("POST", "basket/lines/", line) == [401, 200, 200, 200]
        assert await self.statuses("GET", "me/") == [401, 200, 200, 200]
        assert await self.statuses("POST", "jobs/", {"kind": "import"}) == [401, 403, 400, 400]

    async def test_each_error_is_a_problem_document(self) -> None:
        for role, method, path, status in (
            (None, "GET", "me/", 401),
            (Role.GUEST, "GET", "rooms/none/", 404),
            (Role.GUEST, "GET", "nowhere/", 404),
            (Role.GUEST, "DELETE", "me/", 405),
            (Role.OWNER, "POST", "people/", 400),
        ):
            answer = await self.ask(role, method, path)
            assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM)
            assert answer.json()["status"] == status

    async def test_tokens_are_no_way_to_more_tokens(self) -> None:
        answer = await self.ask(Role.OWNER, "POST", "tokens/", {"name": "Another"})
        assert answer.status_code == 403
        assert await Token.objects.acount() == len(Role)

    def test_the_view_sets_run_on_the_loop(self) -> None:
        for path in ("me", "basket", "people", "rooms", "files", "jobs", "orders"):
            assert place_of(resolve(f"/api/{path}/").func) == "loop", path
        assert place_of(resolve("/api/schema/").func) == "thread", "it takes long"
