"""`manage.py bearer_tokens issue | list | revoke`.

What a script wants stands alone on standard output, what is for people on standard error.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from onloop.tokens.models import Token
from onloop.tokens.text import PREFIX, PUBLIC_ID_LENGTH

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
COLUMNS = ("id", "user", "name", "state", "created", "expires", "last used")


class Command(BaseCommand):
    help = "Issue, list and revoke the bearer tokens of users."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        issue = actions.add_parser("issue", help="make a token and print it, this once")
        issue.add_argument("username")
        issue.add_argument("--name", required=True, help="what the token is for")
        issue.add_argument(
            "--expires", metavar="DURATION", help="30d, 12h, 90m or 2w from now; else never"
        )
        listing = actions.add_parser("list", help="a line for each token, tabs between")
        listing.add_argument("--user", metavar="USERNAME", help="only those of this user")
        revoke = actions.add_parser("revoke", help="refuse tokens from now on")
        revoke.add_argument("ids", nargs="*", metavar="ID", help="as `list` prints it")
        revoke.add_argument("--user", metavar="USERNAME", help="all tokens of this user")

    def handle(self, *args: Any, **options: Any) -> None:
        for what in ("username", "user", "name", "ids"):
            _check_text(what, options.get(what))
        getattr(self, options["action"])(**options)

    def issue(self, username: str, name: str, expires: str | None, **options: Any) -> None:
        user = _user(username)
        if not getattr(user, "is_active", True):
            raise CommandError(f"User {username!r} is not active: the token would be refused.")
        try:
            token, text = Token.issue(
                user, name=name, expires=None if expires is None else parse_duration(expires)
            )
        except ValueError as exc:
            raise CommandError(str(exc)) from None
        self.stdout.write(text)
        until = "never expires" if token.expires is None else f"expires {_iso(token.expires)}"
        self._tell(f"{token.visible_id} {until}. The token is shown only now.")

    def list(self, user: str | None, **options: Any) -> None:
        tokens = Token.objects.select_related("user")
        if user is not None:
            tokens = tokens.filter(user=_user(user))
        self.stdout.write("\t".join(COLUMNS))
        for token in tokens.iterator():
            self.stdout.write(
                "\t".join(
                    (
                        token.visible_id,
                        token.user.get_username(),
                        token.name,
                        token.state,
                        _iso(token.created),
                        _iso(token.expires),
                        _iso(token.last_used),
                    )
                )
            )

    def revoke(self, ids: Any, user: str | None, **options: Any) -> None:
        if bool(ids) == (user is not None):
            raise CommandError("Name the ids of tokens, or --user USERNAME for all of a user.")
        if user is not None:
            tokens = Token.objects.filter(user=_user(user))
        else:
            wanted = {_public_id(given) for given in ids}
            tokens = Token.objects.filter(public_id__in=wanted)
            unknown = wanted - set(tokens.values_list("public_id", flat=True))
            if unknown:  # and none is revoked
                names = ", ".join(sorted(PREFIX + public_id for public_id in unknown))
                raise CommandError(f"No such token: {names}. `list` prints the ids.")
        count = tokens.revoke()
        self._tell(f"{count} revoked, {tokens.count() - count} had been before.")

    def _tell(self, text: str) -> None:
        self.stderr.write(text, style_func=str)  # not in red: it is no error


def parse_duration(text: str) -> timedelta:
    """`30d` as a timedelta. Raises `ValueError` with the cure."""
    found = re.fullmatch(r"([0-9]{1,9})([mhdw])", text)
    if found is None or not int(found[1]):
        raise ValueError(
            f"{text!r} is no duration: write a whole number and m, h, d or w, such as 30d."
        )
    try:
        return timedelta(**{UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ValueError(f"{text!r} is too long.") from None


def _check_text(what: str, given: Any) -> None:
    """Refuse what no database can hold, such as bytes that are no text for the terminal.

    It is not shown: it may be a token that somebody has pasted.
    """
    for text in given if isinstance(given, list) else [given]:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise CommandError(
                f"The argument {what} is not text in the encoding that Python reads, UTF-8 "
                "unless LANG or PYTHONUTF8 say otherwise."
            ) from None
        if text and "\0" in text:
            raise CommandError(f"The argument {what} has a NUL character.")


def _user(username: str) -> Any:
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: username}).first()
    if user is None:
        raise CommandError(f"There is no user {username!r}.")
    return user


def _public_id(given: str) -> str:
    """An id with or without `onl_`. Who pastes a whole token has its id taken, not shown."""
    public_id, _, secret = given.removeprefix(PREFIX).partition("_")
    if len(public_id) == PUBLIC_ID_LENGTH or not secret:
        return public_id
    raise CommandError("That is neither the id of a token nor a token. `list` prints the ids.")


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="seconds")
