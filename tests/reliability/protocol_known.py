"""What server libraries do other than RFC 6455 says: each with its reason, none of it ours."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from tests.reliability.protocol import Case


@dataclass(frozen=True)
class Known:
    """`cases` and `told` are patterns of the shell; `told` is of `protocol.differences`."""

    servers: tuple[str, ...]
    cases: str
    told: str
    why: str

    def matches(self, case: Case, told: str) -> bool:
        match = fnmatch.fnmatchcase
        return match(case.name, self.cases) and match(told, self.told)


OF_WEBSOCKETS = ("uvicorn", "uvicorn-websockets")
OF_WSPROTO = ("uvicorn-wsproto", "hypercorn")

KNOWN = [
    Known(
        OF_WEBSOCKETS, "framing: a length in ?? bits for 5", "goes on",
        "websockets takes a length in more bytes than it needs (5.2: the fewest must be used)",
    ),
    Known(
        OF_WEBSOCKETS, "framing: a length in the highest bit of 64", "closed with 1009",
        "websockets takes it for a very long message (5.2: the highest bit must be 0)",
    ),
    Known(
        ("uvicorn",), "close: within a message", "closed with 1002",
        "websockets takes it for an error that a message is not finished (5.4 allows it)",
    ),
    Known(
        (*OF_WSPROTO, "daphne"), "*", "fails without a close frame",
        "wsproto and Autobahn cut the connection (7.1.7: a close frame should come first)",
    ),
    Known(
        (*OF_WSPROTO, "daphne"), "close: with 1014*", "no close frame",
        "wsproto and Autobahn take it for an unknown code (IANA has registered it since)",
    ),
    Known(
        ("daphne",), "*", "leaves out what is empty",
        "Daphne sends no message that is empty",
    ),
]  # fmt: skip


def known_of(server: str) -> list[Known]:
    return [known for known in KNOWN if server in known.servers]
