"""Who the demo's accounts are, and what their bells have to tell, for ``manage.py seed``."""

import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from accounts.models import Profile, Role
from notices.models import Notice

# username: names, role, about. Whoever is not in here is left alone.
KNOWN = {
    "demo": ("Demo", "", Role.OWNER, "Shows visitors around."),
    "robin": ("Robin", "Reedbrook", Role.MEMBER, "Answers letters, mends what comes back."),
    "guest": ("Greta", "Clayfield", Role.GUEST, "Buys for the café across the street."),
    "mara": ("Mara", "Lindencombe", Role.MEMBER, "Accounts. Has the key to the big room."),
    "emre": ("Emre", "Flintbridge", Role.MEMBER, "Keeps the servers of the shop up."),
    "ida": ("Ida", "Willowmere", Role.MEMBER, "Photos, texts and assembly sheets."),
    "kofi": ("Kofi", "Ashwick", Role.MEMBER, "Goods in, goods out, and cake."),
}

# For whom: kind, text, the view it leads to with its arguments, hours ago, whether it was read.
TOLD: dict[str, list[tuple[Notice.Kind, str, list[str], float, bool]]] = {
    "demo": [
        (
            Notice.Kind.MENTION,
            "ida in General: @demo, the spring pages are ready. Be honest, after coffee.",
            ["room", "general"],
            0.4,
            False,
        ),
        (Notice.Kind.ORDER, "An order came in with three lamps.", ["room", "orders"], 2, False),
        (
            Notice.Kind.ACCOUNT,
            "guest has an account now, and the role “Guest”.",
            ["members"],
            5,
            False,
        ),
        (Notice.Kind.ROOM, "kofi added you to “Goods out”.", ["room", "goods-out"], 26, True),
        (Notice.Kind.FILE, "products.csv is examined: 200 rows.", ["files"], 30, True),
        (Notice.Kind.PANEL, "The news answer again.", ["panels"], 49, True),
        (
            Notice.Kind.ACCOUNT,
            "Welcome! This bell rings when something concerns you.",
            [],
            73,
            True,
        ),
    ],
    "robin": [
        (Notice.Kind.ROOM, "mara added you to “Repairs”.", ["room", "repairs"], 20, False),
        (Notice.Kind.ACCOUNT, "Welcome! Tell the others what you do.", ["profile"], 70, True),
    ],
    "guest": [
        (
            Notice.Kind.ACCOUNT,
            "Welcome! As a guest you can read, and order from the catalogue.",
            ["shop"],
            5,
            False,
        ),
    ],
}


def give_profiles() -> None:
    """Roles for accounts that have none yet, names where there are none."""
    for user in get_user_model().objects.filter(username__in=KNOWN):
        first, last, role, about = KNOWN[user.username]
        Profile.objects.get_or_create(user=user, defaults={"role": role, "about": about})
        if not user.last_name:
            user.first_name, user.last_name = first, last
            user.save(update_fields=["first_name", "last_name"])


def give_notices() -> None:
    now = timezone.now()
    users = {user.username: user for user in get_user_model().objects.filter(username__in=TOLD)}
    notices = [_notice(users[name], now, *told) for name in users for told in TOLD[name]]
    Notice.objects.bulk_create(sorted(notices, key=lambda notice: notice.created))


def _notice(
    user: Any,
    now: datetime.datetime,
    kind: Notice.Kind,
    text: str,
    where: list[str],
    hours: float,
    read: bool,
) -> Notice:
    created = now - datetime.timedelta(hours=hours)
    return Notice(
        user=user,
        kind=kind,
        text=text,
        path=reverse(where[0], args=where[1:]) if where else "",
        created=created,
        read=created + datetime.timedelta(minutes=20) if read else None,
    )
