"""The tests that judge: fetched with the source distribution of the installed version."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".conformance"

# Folders of Django's tests that hold no tests of their own; `runtests.py` skips them as well.
NO_LABELS = {"import_error_package", "test_runner_apps", "gis_tests"}

# What the database layer is made of and used by: the label "database", which CI runs.
DATABASE = """
    aggregation aggregation_regress annotations async backends basic bulk_create constraints
    custom_managers db_functions db_utils defer delete distinct_on_fields expressions
    expressions_case fixtures force_insert_update foreign_object get_or_create indexes
    inspectdb introspection known_related_objects lookup m2m_through many_to_many
    many_to_one model_fields multiple_database null_queries one_to_one ordering pagination
    prefetch_related queries raw_query schema select_for_update select_related serializers
    signals test_utils timezones transaction_hooks transactions unmanaged_models update
    update_only_fields
"""

# What a handler and its clients serve: the labels of the second mode, `--handler`.
HANDLER = """
    asgi async auth_tests csrf_tests conditional_processing context_processors file_uploads
    fixtures_model_package flatpages_tests generic_views handlers httpwrappers logging_tests
    messages_tests middleware middleware_exceptions redirects_tests requests_tests responses
    servers sessions_tests shortcuts signed_cookies_tests sites_tests staticfiles_tests
    syndication_tests test_client test_client_regress urlpatterns urlpatterns_reverse
    view_tests
"""


@dataclass(frozen=True)
class Suite:
    """Tests of one distribution, and the script that runs a label of them."""

    # "" for Django's on its own, "handler", "drf", "drf-handler", "channels", "cache", and
    # "cache-outside"
    kind: str
    version: str  # "django-6.1.3"
    folder: Path
    script: str
    labels: tuple[str, ...]  # of a run that names none
    every: tuple[str, ...]  # that there are


def djangos(*, handler: bool) -> Suite:
    """Django's own tests, all of them or those for a handler."""
    version = django.get_version()
    tests = fetch("django", version) / "tests"
    every = sorted(
        path.name
        for path in tests.iterdir()
        if (path / "__init__.py").exists() and path.name not in NO_LABELS
    )
    labels = [label for label in HANDLER.split() if label in every] if handler else every
    return Suite(
        "handler" if handler else "",
        f"django-{version}",
        tests,
        "worker.py",
        tuple(labels),
        tuple(every),
    )


def caches(*, outside: bool) -> Suite:
    """Django's tests of caches, with a Redis, in a bridge or `outside` of one."""
    tests = djangos(handler=False)
    kind = "cache-outside" if outside else "cache"
    labels = ("cache",)
    return Suite(kind, tests.version, tests.folder, tests.script, labels, labels)


def rest_frameworks(*, handler: bool) -> Suite:
    """Django REST framework's tests: one label, of a pytest that finds them all."""
    kind = "drf-handler" if handler else "drf"
    version = metadata.version("djangorestframework")
    folder = fetch("djangorestframework", version)
    labels = ("tests",)
    return Suite(kind, f"djangorestframework-{version}", folder, "drf.py", labels, labels)


def channels(checkout: Path) -> Suite:
    """The tests of a checkout of Channels, whose source distribution has none: one label.

    Raises `ValueError` if it is none.
    """
    try:
        said = (checkout / "channels" / "__init__.py").read_text()
        version = said.partition('__version__ = "')[2].partition('"')[0]
        (checkout / "tests" / "conftest.py").read_text()
    except OSError as error:
        raise ValueError(f"{checkout} is no checkout of Channels: {error}") from None
    labels = ("tests",)
    folder = checkout.resolve()
    return Suite("channels", f"channels-{version}", folder, "consumers.py", labels, labels)


def fetch(distribution: str, version: str) -> Path:
    """Return the folder of an unpacked source distribution, downloading it if need be.

    Raises `subprocess.CalledProcessError` if the package index does not have it.
    """
    folder = CACHE / f"{distribution}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(exist_ok=True)
    print(f"Fetching the source distribution of {distribution} {version} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-binary", distribution]
        command += ["--dest", place, f"{distribution}=={version}"]
        subprocess.run(command, check=True)
        (archive,) = Path(place).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
        (unpacked,) = (path for path in Path(place).iterdir() if path.is_dir())
        shutil.move(unpacked, folder)
    return folder
