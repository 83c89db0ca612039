"""How sockets end: the codes that close them, and the reasons that their clients are told."""

from __future__ import annotations

from typing import NamedTuple

# Close codes of RFC 6455 and of its registry.
GOING_AWAY = 1001
NO_STATUS = 1005
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013


class End(NamedTuple):
    """How a socket is closed: the code, and the reason, which the client is told."""

    code: int
    reason: str


ENDS = {
    "too_big": End(TOO_BIG, "The message is too big."),
    "too_fast": End(POLICY_VIOLATION, "Too many messages."),
    "slow": End(POLICY_VIOLATION, "Reads too slowly."),
    "idle": End(POLICY_VIOLATION, "Idle."),
    "stuck": End(TRY_AGAIN_LATER, "Try again later."),
    "going_away": End(GOING_AWAY, "The server ends."),
    "malformed": End(INVALID_PAYLOAD, "The message cannot be read."),
}
