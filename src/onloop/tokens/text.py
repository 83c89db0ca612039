"""What a token looks like: `onl_`, 16 characters that name it, `_`, 43 that are secret.

Letters and digits only, so that a double click selects all of it, and a prefix of its own, so
that scanners for secrets find it: `onl_[0-9A-Za-z]{16}_[0-9A-Za-z]{43}`. GitHub's tokens are
the example. No Django in here, and no database.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import NamedTuple

PREFIX = "onl_"
TICKET_PREFIX = "onlt_"
ALPHABET = string.digits + string.ascii_letters
PUBLIC_ID_LENGTH = 16
SECRET_LENGTH = 43  # 62**43 is more than 2**256

_FORM = re.compile(
    f"{PREFIX}([0-9A-Za-z]{{{PUBLIC_ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})"
)
_TICKET = re.compile(f"{TICKET_PREFIX}[0-9A-Za-z]{{{SECRET_LENGTH}}}")


class Parts(NamedTuple):
    """The public id, by which a token is looked up, and the secret."""

    public_id: str
    secret: str

    @property
    def text(self) -> str:
        return f"{PREFIX}{self.public_id}_{self.secret}"


def make() -> Parts:
    """Make up a token."""
    return Parts(_random(PUBLIC_ID_LENGTH), _random(SECRET_LENGTH))


def split(text: str) -> Parts | None:
    """The parts of a token; None for a text that cannot be one."""
    found = _FORM.fullmatch(text)
    return None if found is None else Parts(found[1], found[2])


def hash_of(secret: str) -> str:
    """SHA-256 of a secret, in hexadecimal.

    A password needs a slow hash because it can be guessed. This secret has 256 bits of chance:
    nobody tries them all, however quick each try is, and every request computes one.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def make_ticket() -> str:
    """Make up a ticket: all of it is secret."""
    return TICKET_PREFIX + _random(SECRET_LENGTH)


def is_ticket(text: str) -> bool:
    """Whether a text can be a ticket."""
    return _TICKET.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
