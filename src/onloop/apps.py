"""The Django app: `INSTALLED_APPS = ["onloop", ...]` puts Onloop into place."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed

from onloop import conf


class OnloopConfig(AppConfig):
    name = "onloop"
    verbose_name = "Onloop"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conf.check_engines()  # here, since models ask for their engine when they are imported

    def ready(self) -> None:
        from onloop import checks, rebind, watchdog  # noqa: PLC0415 - they need the app registry
        from onloop.db.pools import renew_pools  # noqa: PLC0415
        from onloop.db.scope import install_store  # noqa: PLC0415

        rebind.install()
        install_store()
        checks.register()
        setting_changed.connect(conf.reload)
        setting_changed.connect(renew_pools)
        setting_changed.connect(watchdog.renew)
