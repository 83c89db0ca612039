"""Roles of the example's JSON API, in any order of changes: who may do what follows from the
role that somebody has at that moment, and there is always an owner."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.servers import AsgiServer
from tests.workspace.conftest import HTTP_TIMEOUT_S, PASSWORD

ROLES = ("guest", "member", "owner")
WHO = strategies.integers(0, 2)


class Somebody:
    def __init__(self, client: httpx.Client, username: str) -> None:
        self.client = client
        self.username = username
        self.id = 0

    def enter(self, path: str, **form: str) -> None:
        self.client.get(path)
        form["csrfmiddlewaretoken"] = self.client.cookies["csrftoken"]
        answer = self.client.post(path, data=form)
        assert answer.status_code == 302, answer.text
        self.client.headers["X-CSRFToken"] = self.client.cookies["csrftoken"]

    def give(self, other: Somebody, role: str) -> int:
        path = f"/api/accounts/{other.id}/"
        return self.client.patch(path, json={"role": role}).status_code


@pytest.fixture
def three(asgi_server: AsgiServer) -> Iterator[list[Somebody]]:
    """The demo's owner, and two members who have just signed up; so it is again at the end."""
    with ExitStack() as stack:

        def somebody(username: str) -> Somebody:
            client = httpx.Client(base_url=asgi_server.url, timeout=HTTP_TIMEOUT_S)
            return Somebody(stack.enter_context(client), username)

        demo = somebody("demo")
        demo.enter("/accounts/login/", username="demo", password=PASSWORD)
        people = [demo, *(somebody(f"new-{uuid.uuid4().hex[:12]}") for _ in range(2))]
        for new in people[1:]:
            names = {"username": new.username, "password1": PASSWORD, "password2": PASSWORD}
            new.enter("/accounts/sign-up/", **names)
        for each in people:
            found = demo.client.get("/api/accounts/", params={"q": each.username}).json()
            each.id = found["results"][0]["id"]
        yield people
        reset(people)


def reset(people: list[Somebody]) -> None:
    assert 200 in [each.give(people[0], "owner") for each in people]
    for other in people[1:]:
        assert people[0].give(other, "member") == 200


def test_whatever_roles_are_given_there_is_an_owner_and_they_count_at_once(
    three: list[Somebody],
) -> None:
    class Roles(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            reset(three)
            self.roles = ["owner", "member", "member"]

        @rule(by=WHO, to=WHO, role=strategies.sampled_from(ROLES))
        def give(self, by: int, to: int, role: str) -> None:
            last = self.roles[to] == "owner" and self.roles.count("owner") == 1
            expected = 200
            if self.roles[by] != "owner":
                expected = 403
            elif last and role != "owner":
                expected = 409
            assert three[by].give(three[to], role) == expected
            if expected == 200:
                self.roles[to] = role

        @rule(who=WHO)
        def ask(self, who: int) -> None:
            """What is not valid is told to those alone who may do it."""
            rank = ROLES.index(self.roles[who])
            client = three[who].client
            assert client.get("/api/accounts/").status_code == (200 if rank == 2 else 403)
            assert client.post("/api/products/", json={}).status_code == (
                400 if rank == 2 else 403
            )
            assert client.post("/api/rooms/", json={}).status_code == (400 if rank else 403)
            assert client.get("/api/me/").json()["role"] == self.roles[who]

        @invariant()
        def there_is_an_owner(self) -> None:
            assert "owner" in self.roles
            owner = three[self.roles.index("owner")]
            found = owner.client.get("/api/accounts/", params={"role": "owner"}).json()
            assert found["count"] == self.roles.count("owner")

    run_state_machine_as_test(
        Roles,
        settings=settings(
            max_examples=10,
            stateful_step_count=15,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
