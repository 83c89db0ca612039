"""`OPTIONS["pool"]`: names and values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import psycopg_pool
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from onloop.db.backends.options import pool_options

from .helpers import anames

pytestmark = pytest.mark.usefixtures("db_clean")


def options_of(alias: str) -> Any:
    return pool_options(connections[alias])


def test_options_have_psycopg_pools_names(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias(
        "given",
        OPTIONS={"pool": {"min_size": 2, "max_size": 5, "timeout": 3, "max_waiting": 7}},
    )
    options = options_of(alias)
    assert (options.min_size, options.max_size, options.timeout, options.max_waiting) == (
        2, 5, 3, 7,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*has no meaning on the loop:UserWarning")
def test_every_option_of_the_installed_psycopg_pool_is_accepted(
    extra_alias: Callable[..., str],
) -> None:
    """With the default that it has there, where it has a meaning here."""
    theirs = dict(inspect.signature(psycopg_pool.ConnectionPool).parameters)
    assert {"min_size", "max_size", "max_waiting", "reconnect_failed", "num_workers"} <= set(
        theirs
    )
    for name, parameter in theirs.items():
        given = "" if parameter.default is parameter.empty else parameter.default
        options = options_of(extra_alias(f"with_{name}", OPTIONS={"pool": {name: given}}))
        if hasattr(options, name) and name != "max_size":  # None there: as `min_size`
            assert getattr(options, name) == given


def test_unknown_options_are_named(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("wrong", OPTIONS={"pool": {"max_sise": 5}})
    with pytest.raises(
        ImproperlyConfigured, match=r"'wrong'.*unknown names: max_sise.*max_size"
    ):
        options_of(alias)


def test_options_without_a_meaning_on_the_loop_warn(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("warned", OPTIONS={"pool": {"num_workers": 3, "max_size": 2}})
    with pytest.warns(UserWarning, match="'num_workers'.*no meaning on the loop"):
        assert options_of(alias).max_size == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_size": 0},
        {"min_size": 3, "max_size": 2},
        {"max_size": "many"},
        {"timeout": "soon"},
        {"timeout": -1},
        {"max_waiting": -1},
        {"max_size": 2.5},
        {"max_lifetime": None},
        {"mode": "statement"},
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_refused(
    extra_alias: Callable[..., str], wrong: dict[str, Any]
) -> None:
    alias = extra_alias("wrong", OPTIONS={"pool": wrong})
    with pytest.raises(ImproperlyConfigured, match=r"DATABASES\['wrong'\]"):
        options_of(alias)


async def test_a_wrong_option_is_reported_by_the_first_query(
    extra_alias: Callable[..., str],
) -> None:
    alias = extra_alias("wrong", OPTIONS={"pool": {"max_sise": 5}})
    with pytest.raises(ImproperlyConfigured, match="max_sise"):
        await anames(alias)


def test_values_of_options_need_not_be_hashable(extra_alias: Callable[..., str]) -> None:
    alias = extra_alias("kwargs", OPTIONS={"pool": {"kwargs": {"a": [1]}, "max_size": 2}})
    with pytest.warns(UserWarning, match="'kwargs'"):
        assert options_of(alias).max_size == 2
