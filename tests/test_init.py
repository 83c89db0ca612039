"""What `import onloop` gives, and that it asks for nothing."""

from __future__ import annotations

import pytest

import onloop
from tests.fresh import python


def test_importing_onloop_needs_no_settings_and_loads_no_orm():
    loaded = python("""
        import onloop, sys
        from django.conf import settings
        assert not settings.configured
        print(*[name for name in sys.modules if name.startswith("django.db")])
    """)
    assert loaded == ""


def test_the_adapters_work_without_settings():
    result = python("""
        import asyncio, onloop
        from onloop import bridge

        async def double(number):
            await asyncio.sleep(0)
            return 2 * number

        print(asyncio.run(onloop.sync_to_async(onloop.async_to_sync(double))(21)))
    """)
    assert result == "42"


@pytest.mark.parametrize("name", onloop.__all__)
def test_every_public_name_can_be_called(name):
    assert callable(getattr(onloop, name))


def test_the_scope_is_that_of_the_database_layer():
    from onloop.db.scope import scope

    assert onloop.scope is scope


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'onloop' has no attribute 'nonsense'"):
        onloop.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("mark", "place"), [(onloop.on_loop, "loop"), (onloop.in_thread, "thread")]
)
def test_a_mark_gives_back_the_view_itself(mark, place):
    def view(request):
        pass

    assert mark(view) is view
    assert view.onloop_place == place
