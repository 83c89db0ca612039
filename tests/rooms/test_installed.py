"""The app in a project of its own: migrations, and what is said without a layer."""

from __future__ import annotations

import pytest

from tests.fresh import project, python

AUTH = ("django.contrib.auth", "django.contrib.contenttypes")


@pytest.mark.parametrize("auto_field", ["AutoField", "BigAutoField"])
def test_the_migrations_are_complete_whatever_the_projects_keys(auto_field):
    said = python(f"""
        import django
        from django.conf import settings
        from django.core.management import call_command
        settings.configure(
            INSTALLED_APPS=["onloop", "onloop.rooms", *{AUTH!r}],
            DATABASES={{"default": {{
                "ENGINE": "onloop.db.backends.sqlite3", "NAME": ":memory:"
            }}}},
            DEFAULT_AUTO_FIELD="django.db.models.{auto_field}",
            CHANNEL_LAYERS={{"default": {{
                "BACKEND": "onloop.channels.layers.InMemoryChannelLayer"
            }}}},
        )
        django.setup()
        call_command("makemigrations", "--check", "--dry-run", "onloop_rooms")
        call_command("migrate", verbosity=0)
        from onloop import rooms
        assert rooms.send("lobby", "x").number == 1
        call_command("migrate", "onloop_rooms", "zero", verbosity=0)
    """)
    assert said == "No changes detected in app 'onloop_rooms'"


def test_without_a_channel_layer_sending_says_what_is_missing():
    said = project(
        """
        from django.core.exceptions import ImproperlyConfigured
        from onloop import rooms
        try:
            rooms.send("lobby", "x")
        except ImproperlyConfigured as exc:
            print(exc)
        """,
        apps=("onloop", *AUTH, "onloop.rooms"),
    )
    assert 'onloop.rooms needs CHANNEL_LAYERS["default"]' in said


def test_importing_the_functions_needs_no_settings():
    assert python("from onloop import rooms; print(rooms.send.__name__)") == "send"
