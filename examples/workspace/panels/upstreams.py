"""How the services behind the panels do, as this process has seen them; nobody is asked."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from django.conf import settings

from onloop import http
from panels import demo
from panels.services import SOURCES


@dataclass(frozen=True)
class Upstream:
    """``failures`` in a row; ``wait_s``: for so long it is left alone."""

    name: str
    title: str
    state: Literal["well", "failing", "left alone", "not set up"]
    failures: int = 0
    wait_s: float = 0.0


def health() -> list[Upstream]:
    failing = {host["host"]: host for host in http.stats()["failing"]}
    found = []
    for source in SOURCES:
        address = settings.PANELS[source.name] or demo.addresses.get(source.name)
        if address is None:
            found.append(Upstream(source.name, source.title, "not set up"))
        elif host := failing.get(_host_of(address)):
            state = "left alone" if host["open"] else "failing"
            found.append(
                Upstream(source.name, source.title, state, host["failures"], host["wait_s"])
            )
        else:
            found.append(Upstream(source.name, source.title, "well"))
    return found


def _host_of(address: str) -> str:
    """As ``onloop.http`` counts failures: by host and port."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
