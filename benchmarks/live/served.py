"""uvicorn with one of the applications: `python -m benchmarks.live.served NAME FD CORES`."""

import json
import os
import socket
import sys
from typing import Any

from benchmarks.pinning import pin

NAMES = ("bare", "stock", "onloop")


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Echo, and nothing else: the floor of what a server takes."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def stock() -> Any:
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.security.websocket import AllowedHostsOriginValidator
    from django.core.asgi import get_asgi_application

    http = get_asgi_application()
    from .consumers import ROUTES

    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(ROUTES)))
    return ProtocolTypeRouter({"http": http, "websocket": sockets})


def onloop() -> Any:
    from onloop.channels import get_asgi_application

    return get_asgi_application("benchmarks.live.consumers.ROUTES")


def application(name: str) -> Any:
    if name == "bare":
        return bare
    os.environ["BENCH_CONTENDER"] = name
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.shop.settings"
    return {"stock": stock, "onloop": onloop}[name]()


def main() -> None:
    import uvicorn

    _, name, fd, cores = sys.argv
    pin(json.loads(cores))
    config = uvicorn.Config(
        application(name),
        loop="asyncio",
        lifespan="on" if name == "onloop" else "off",
        ws="websockets-sansio",
        # Compressing would take more than all that is measured.
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        access_log=False,
        log_level="warning",
    )
    with socket.socket(fileno=int(fd)) as listening:
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
