"""Makes the virtual users: `python sessions.py NUMBER PREFIX` in the example's environment.

Prints JSON, a line for each: the key of a session, and the room that they talk in.
"""

import json
import sys

import django

django.setup()

from django.contrib.auth import (  # noqa: E402
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from accounts.models import Profile, Role  # noqa: E402 - after setup
from rooms.seeding import make_room  # noqa: E402

IN_A_ROOM = 20
prefix = sys.argv[2]
BACKEND = "django.contrib.auth.backends.ModelBackend"

users = [
    get_user_model().objects.create_user(f"{prefix}-{number}")
    for number in range(int(sys.argv[1]))
]
for first in range(0, len(users), IN_A_ROOM):
    members = users[first : first + IN_A_ROOM]
    slug = f"{prefix}-{first // IN_A_ROOM}"
    make_room({"slug": slug, "name": f"Load {first // IN_A_ROOM}"}, members, [])
    for user in members:
        Profile.objects.update_or_create(user=user, defaults={"role": Role.MEMBER})
        session = SessionStore()
        session.update(
            {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: BACKEND,
                HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
        )
        session.create()
        print(json.dumps({"session": session.session_key, "room": slug}))
