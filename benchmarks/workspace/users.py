"""Virtual users: what they do, how often, and what it took."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

# Seconds after which an answer counts as an error.
PATIENCE_S = 30
WORDS = ["lamp", "oak", "blue", "chair", "mug", "linen", "soft", "kit"]
PRODUCTS = 2_000
UPLOAD_BYTES = 64 * 1024
TOKEN = "c" * 32


@dataclass
class Seen:
    """Milliseconds of each answer that came as it should, by kind; and what did not."""

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    heard: int = 0

    def note(self, kind: str, began: float) -> None:
        self.took_ms.setdefault(kind, []).append((time.perf_counter() - began) * 1000)


class Unexpected(Exception):
    pass


class User:
    """Somebody with a browser: one session, connections that are kept, some with a socket."""

    def __init__(self, url: str, session: str, room: str, seed: int) -> None:
        self.url, self.room = url, room
        self.seen = Seen()
        self.random = random.Random(seed)
        cookies = {"sessionid": session, "csrftoken": TOKEN}
        self.http = aiohttp.ClientSession(
            url,
            cookies=cookies,
            timeout=aiohttp.ClientTimeout(PATIENCE_S),
            # Given up before the server does (uvicorn: 5 s), or a POST may meet its end.
            connector=aiohttp.TCPConnector(keepalive_timeout=2),
        )
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.posted: dict[str, asyncio.Future[None]] = {}

    # --- what they do -----------------------------------------------------------------------

    async def start_page(self) -> None:
        await self._get("/")

    async def catalogue(self) -> None:
        await self._get("/catalogue/", page=str(self.random.randint(1, 40)))

    async def search(self) -> None:
        await self._get("/catalogue/", q=self.random.choice(WORDS))

    async def products(self) -> None:
        await self._get("/catalogue/products/", q=self.random.choice(WORDS), per_page="20")

    async def summary(self) -> None:
        await self._get("/catalogue/summary/")

    async def order(self) -> None:
        lines = [
            {"product": product, "quantity": 1}
            for product in self.random.sample(range(1, PRODUCTS + 1), 2)
        ]
        customer = {"name": "A Visitor", "email": "visitor@example.org"}
        # 409: sold out, which is an answer.
        await self._post(
            "/catalogue/orders/", {201, 409}, json={"customer": customer, "lines": lines}
        )

    async def room_page(self) -> None:
        await self._get(f"/rooms/{self.room}/")

    async def files_page(self) -> None:
        await self._get("/files/")

    async def upload(self) -> None:
        await self._post(
            "/files/raw/?name=notes.txt",
            {201},
            data=self.random.randbytes(UPLOAD_BYTES),
            headers={"Content-Type": "application/octet-stream"},
        )

    async def panels(self) -> None:
        await self._get("/panels/data/")

    async def chat(self) -> None:
        """A message is posted when the server says so; without a socket, the room is read."""
        if self.socket is None:
            await self.room_page()
            return
        ref = str(uuid.uuid4())
        done = self.posted[ref] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"type": "post", "body": "Is anybody there?", "ref": ref})
        async with asyncio.timeout(PATIENCE_S):
            await done

    MIX: tuple[tuple[Callable[[User], Awaitable[None]], int], ...] = (
        (start_page, 8),
        (catalogue, 20),
        (search, 15),
        (products, 15),
        (summary, 3),
        (order, 8),
        (room_page, 6),
        (chat, 12),
        (files_page, 4),
        (upload, 3),
        (panels, 6),
    )

    # --- how --------------------------------------------------------------------------------

    async def act(self, until: float, rest_s: float) -> None:
        """Go on until then, with a rest of `rest_s` on the average."""
        actions, weights = zip(*self.MIX, strict=True)
        await asyncio.sleep(self.random.uniform(0, rest_s * 2))
        while time.perf_counter() < until:
            (action,) = self.random.choices(actions, weights)
            began = time.perf_counter()
            try:
                await action(self)
            except (Unexpected, aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                self.seen.errors[f"{action.__name__}: {error or type(error).__name__}"] += 1
            else:
                self.seen.note(action.__name__, began)
            rest = self.random.expovariate(1 / rest_s) if rest_s else 0
            await asyncio.sleep(max(0, min(rest, until - time.perf_counter())))

    async def enter(self) -> None:
        """Open a socket, and listen to the room until it is closed."""
        socket = self.socket = await self.http.ws_connect(
            f"/rooms/{self.room}/", origin=self.url, heartbeat=None
        )
        joined = asyncio.get_running_loop().create_future()
        self.listening = asyncio.create_task(self._listen(socket, joined))
        async with asyncio.timeout(PATIENCE_S):
            await joined

    async def _listen(
        self, socket: aiohttp.ClientWebSocketResponse, joined: asyncio.Future[None]
    ) -> None:
        async for message in socket:
            frame = json.loads(message.data)
            if frame["type"] == "joined":
                joined.set_result(None)
            elif frame["type"] == "posted":
                self.posted.pop(frame["ref"]).set_result(None)
            elif frame["type"] == "message":
                self.seen.heard += 1
        self.socket = None
        for done in self.posted.values():
            done.set_exception(Unexpected(f"the socket was closed with {socket.close_code}"))

    async def leave(self) -> None:
        if self.socket is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self.socket.close()
            self.listening.cancel()
        await self.http.close()

    async def _get(self, path: str, **query: str) -> None:
        async with self.http.get(path, params=query) as answer:
            await answer.read()
            self._check(answer, {200})

    async def _post(self, path: str, statuses: set[int], **body: Any) -> None:
        headers = {"X-CSRFToken": TOKEN, **body.pop("headers", {})}
        async with self.http.post(path, headers=headers, **body) as answer:
            await answer.read()
            self._check(answer, statuses)

    @staticmethod
    def _check(answer: aiohttp.ClientResponse, statuses: set[int]) -> None:
        if answer.status not in statuses:
            raise Unexpected(f"status {answer.status}")
