"""The application of R16 in a server: a consumer that echoes, and what became of each socket.

`/ledger/` tells, for each socket by the number in its address, what its consumer was told, and
what the process still holds.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import JsonResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")
settings.ROOT_URLCONF = __name__

from onloop.channels import get_asgi_application  # noqa: E402 - with these settings

# What the consumers of each socket were told, in its order.
told: dict[str, list[str]] = {}


class Echo(AsyncWebsocketConsumer):
    """Echoes, and asks the database with every message."""

    async def connect(self):
        told[self.number()] = ["connect"]
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if not await Author.objects.aexists():
            await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code):
        told[self.number()].append(f"disconnect {code}")

    def number(self):
        return self.scope["url_route"]["kwargs"]["number"]


application = get_asgi_application([path("echo/<str:number>/", Echo.as_asgi())])

from onloop.channels import socket_stats  # noqa: E402 - when the apps are loaded
from onloop.db import pools, scope  # noqa: E402
from tests.loops import suspended_bridges  # noqa: E402
from tests.project.library.models import Author  # noqa: E402


async def ledger(request):
    out = Counter({
        pool.name: pool.stats()["pool_size"] - pool.stats()["pool_available"]
        for pool in pools.pools_of(asyncio.get_running_loop())
    })  # fmt: skip
    return JsonResponse({
        "told": told,
        "held": {
            "tasks": len(asyncio.all_tasks()),
            "scopes": len(scope._scopes),
            "bridges": len(suspended_bridges()),
            "connections": out.total(),
            "sockets": socket_stats()["open"],
        },
    })  # fmt: skip


urlpatterns = [path("ledger/", ledger)]
