"""The test project with the addresses of `tests.http.site`."""

from tests.project.settings import *  # noqa: F403 - settings of settings

ROOT_URLCONF = "tests.http.site"
