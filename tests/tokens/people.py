"""People with tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib.auth.models import User

from onloop.tokens.models import Token

OURS = "onloop.middleware.BearerTokenMiddleware"


class Person(NamedTuple):
    user: User
    token: Token
    text: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.text}"}


async def person(name: str, **kwargs: Any) -> Person:
    user = await User.objects.acreate_user(name)
    return Person(user, *await Token.aissue(user, name=f"{name}'s", **kwargs))
