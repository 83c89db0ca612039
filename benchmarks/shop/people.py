"""Run once: Django's own tables, one user, and the session in which that one is logged in."""

import datetime
import os

import django
from django.core.management import call_command

from benchmarks.endpoints import SESSION_KEY, USER


def main():
    os.environ["BENCH_CONTENDER"] = "wsgi"
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.shop.settings"
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)

    from django.contrib import auth
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    user = auth.get_user_model().objects.create_user(USER)
    logged_in = {
        auth.SESSION_KEY: str(user.pk),
        auth.BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        auth.HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session.objects.create(
        session_key=SESSION_KEY,
        session_data=SessionStore().encode(logged_in),
        expire_date=timezone.now() + datetime.timedelta(days=1),
    )


if __name__ == "__main__":
    main()
