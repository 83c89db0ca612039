"""What goes over the wire: names of rooms, bodies, and events as clients get them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder

if TYPE_CHECKING:
    from onloop.rooms.models import Message

Event = dict[str, Any]

# Characters of a room's name, and of the name of somebody in it.
MAX_NAME = 200
# Characters of the key of a message.
MAX_KEY = 100
# Lists and objects that a body may stand inside of. SQLite takes a thousand; Python's own
# functions, of ours and of a project, may call themselves about as often.
MAX_DEPTH = 100


def check_name(name: object, what: str = "room") -> str:
    """Return `name`; raise `ValueError` if it cannot be that of a room or of somebody in it."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(
            f"The name of a {what} must be text of 1 to {MAX_NAME} printable characters, "
            f"not {str(name)[:50]!r}."
        )
    return name


def check_key(key: object) -> str:
    """Return `key`; raise `ValueError` if it cannot be that of a message."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise ValueError(
            f"The key of a message must be text of 1 to {MAX_KEY} printable characters, such "
            f"as a UUID, not {str(key)[:50]!r}."
        )
    return key


def group_of(room: str) -> str:
    """The group of the channel layer for a room: layers know few characters."""
    return "onloop.room." + hashlib.sha256(room.encode()).hexdigest()[:40]


def clean(body: Any) -> Any:
    """Return `body` as it comes back from the database.

    Raises `ValueError` for what JSON or a database cannot hold (NaN, a NUL character, half a
    surrogate pair, more than `MAX_DEPTH` levels) and `TypeError` for objects that have no JSON
    form.
    """
    try:
        text = json.dumps(body, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(text, body)
    if "\\u0000" in text and "\x00" in _all_text(body):
        raise ValueError("The body of a message holds a NUL character, which is no text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("The body of a message holds half a surrogate pair.") from None
    return json.loads(text)


_TOO_DEEP = f"Lists and objects may stand in each other {MAX_DEPTH} deep, not deeper."


def check_depth(text: str, value: Any, most: int = MAX_DEPTH) -> None:
    """Raise `ValueError` if `value`, whose JSON is `text`, has more than `most` levels."""
    if text.count("[") + text.count("{") <= most:
        return
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list | tuple)]:
        depth += 1
        if depth > most:
            raise ValueError(_TOO_DEEP)
        level = [
            inner
            for part in level
            for inner in (part.values() if isinstance(part, dict) else part)
        ]


def name_of(who: str) -> str:
    """The name of somebody in a room as the database can hold it.

    One that it cannot hold would keep it from being told of anybody else in this process.
    """
    return who.replace("\0", "").encode(errors="ignore").decode()[:MAX_NAME]


def packed(event: Event) -> str:
    """An event for the channel layer: JSON, since a layer's own form holds less than that."""
    return json.dumps(event, cls=DjangoJSONEncoder)


def unpacked(text: str) -> Event:
    event: Event = json.loads(text)
    return event


def _all_text(body: Any) -> str:
    """All text in `body`: "\\u0000" in its JSON may be six characters that somebody wrote."""
    if isinstance(body, dict):
        return "".join(_all_text(part) for pair in body.items() for part in pair)
    if isinstance(body, list | tuple):
        return "".join(map(_all_text, body))
    return str(body)


def message_event(room: str, message: Message) -> Event:
    """A saved message as clients get it."""
    sender = message.sender
    key = {} if message.key is None else {"key": message.key}
    return {
        "type": "message",
        "room": room,
        "number": message.number,
        "sender": None if sender is None else sender.get_username(),
        "body": message.body,
        "created": message.created.isoformat(),
        **key,
    }
