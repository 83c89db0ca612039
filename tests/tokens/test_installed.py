"""The app in a project of its own: migrations, start-up, and what is said without it."""

from __future__ import annotations

import pytest

from tests.fresh import project, python

AUTH = ("django.contrib.auth", "django.contrib.contenttypes")
OURS = "onloop.middleware.BearerTokenMiddleware"


@pytest.mark.parametrize("auto_field", ["AutoField", "BigAutoField"])
def test_the_migrations_are_complete_whatever_the_projects_keys(auto_field):
    said = python(f"""
        import django
        from django.conf import settings
        from django.core.management import call_command
        settings.configure(
            INSTALLED_APPS=["onloop", "onloop.tokens", *{AUTH!r}],
            DATABASES={{"default": {{
                "ENGINE": "onloop.db.backends.sqlite3", "NAME": ":memory:"
            }}}},
            DEFAULT_AUTO_FIELD="django.db.models.{auto_field}",
        )
        django.setup()
        call_command("makemigrations", "--check", "--dry-run", "onloop_tokens")
        call_command("migrate", verbosity=0)
        from django.contrib.auth.models import User
        from onloop.tokens.models import Token
        token, text = Token.issue(User.objects.create_user("ada"), name="x")
        assert Token.objects.authenticate(text) == token
        call_command("migrate", "onloop_tokens", "zero", verbosity=0)
    """)
    assert said == "No changes detected in app 'onloop_tokens'"


def test_the_middleware_module_loads_no_models():
    assert (
        project(
            "import onloop.middleware, sys; print('onloop.tokens.models' in sys.modules)",
            apps=("onloop", *AUTH),
        )
        == "False"
    )


def test_the_middleware_without_the_app_says_what_is_missing():
    said = project(
        """
        from django.core.exceptions import ImproperlyConfigured
        from onloop.asgi import get_asgi_application
        try:
            get_asgi_application()
        except ImproperlyConfigured as exc:
            print(exc)
        """,
        MIDDLEWARE=[OURS],
    )
    assert '"onloop.tokens" in INSTALLED_APPS' in said


def test_the_admin_is_not_needed():
    assert project("print('fine')", apps=("onloop", *AUTH, "onloop.tokens")) == "fine"
