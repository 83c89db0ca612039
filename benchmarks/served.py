"""The contenders' applications, by name, for gunicorn; and uvicorn, started with one of them.

`python -m benchmarks.served CONTENDER FD`. Not uvicorn's own `--fd`: that takes each socket for
a Unix one, on which asyncio would not set TCP_NODELAY.
"""

import socket
import sys
from typing import Any

from .contenders import CONTENDERS


def __getattr__(name: str) -> Any:
    if name not in CONTENDERS:
        raise AttributeError(name)
    application = globals()[name] = CONTENDERS[name].load()
    return application


def main() -> None:
    import uvicorn

    _, name, fd = sys.argv
    config = uvicorn.Config(
        CONTENDERS[name].load(),
        loop="asyncio",
        http="httptools",
        access_log=False,
        timeout_keep_alive=60,
        log_level="warning",
    )
    with socket.socket(fileno=int(fd)) as listening:
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
