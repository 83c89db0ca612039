"""The setting ONLOOP: what it may hold, and what is said where it holds something else."""

from __future__ import annotations

import math
from ipaddress import ip_network

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from onloop import conf


def test_without_the_setting_there_are_defaults():
    with override_settings():
        del settings.ONLOOP
        conf.reload()
        assert conf.get() == conf.Settings(
            SYNC_VIEWS="thread",
            ON_LOOP=(),
            IN_THREAD=(),
            LIFESPAN=(),
            TURN_TIMEOUT=30.0,
            SQLITE_INLINE_MS=5.0,
            JSON_ERRORS=(),
            STALL_MS=50.0,
            BEARER_PUBLIC_PATHS=(),
            BEARER_SESSIONS=False,
            BEARER_REALM="api",
            BEARER_MAX_FAILURES=20,
            BEARER_FAILURE_WINDOW=60.0,
            BEARER_CLIENT_ADDRESS="",
            IMPLICIT_IO="allow",
            READY_TIMEOUT=2.0,
        )
    conf.reload()


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("SYNC_VIEWS", "loop", "loop"),
        ("SYNC_VIEWS", "thread", "thread"),
        ("ON_LOOP", ["django.contrib.admin"], ("django.contrib.admin",)),
        ("ON_LOOP", (), ()),
        ("IN_THREAD", ("one", "two"), ("one", "two")),
        ("IN_THREAD", {"one"}, ("one",)),
        ("LIFESPAN", ["project.lifespan.resources"], ("project.lifespan.resources",)),
        ("TURN_TIMEOUT", 5, 5),
        ("TURN_TIMEOUT", 0.5, 0.5),
        ("SQLITE_INLINE_MS", 0, 0),
        ("SQLITE_INLINE_MS", 2.5, 2.5),
        ("JSON_ERRORS", ["/api/", "/v2"], ("/api/", "/v2")),
        ("IMPLICIT_IO", "allow", "allow"),
        ("IMPLICIT_IO", "raise", "raise"),
        ("STALL_MS", 0, 0),
        ("STALL_MS", 250, 250),
        ("READY_TIMEOUT", 0.5, 0.5),
        ("BEARER_PUBLIC_PATHS", ["/"], ("/",)),
        ("BEARER_SESSIONS", True, True),
        ("BEARER_REALM", "the desk, upstairs", "the desk, upstairs"),
        ("BEARER_REALM", "", ""),
        ("BEARER_MAX_FAILURES", 0, 0),
        ("BEARER_FAILURE_WINDOW", 1.5, 1.5),
        ("BEARER_CLIENT_ADDRESS", "project.clients.address", "project.clients.address"),
        ("SOCKET_RATE", 0, 0),
        ("SOCKET_RATE", 0.5, 0.5),
        ("SOCKET_MAX_PER_USER", 0, 0),
        ("SOCKET_SEND_TIMEOUT", 0, 0),
        ("HTTP", {}, conf.HttpSettings()),
        ("HTTP", {"RETRIES": 0}, conf.HttpSettings(RETRIES=0)),
        (
            "HTTP",
            {"PUBLIC_PORTS": [8080], "PUBLIC_ALLOW": ["10.1.0.0/16", "fd12::/64"]},
            conf.HttpSettings(
                PUBLIC_PORTS=(8080,),
                PUBLIC_ALLOW=(ip_network("10.1.0.0/16"), ip_network("fd12::/64")),
            ),
        ),
    ],
)
def test_a_valid_value_is_read(name, given, read):
    with override_settings(ONLOOP={name: given}):
        assert getattr(conf.get(), name) == read


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "must be a dictionary"),
        ([("SYNC_VIEWS", "loop")], "must be a dictionary"),
        (
            {"SYNCVIEWS": "loop", "B": 1},
            r"Unknown names .*: B, SYNCVIEWS\. Known are: BEARER_CLIENT_ADDRESS,",
        ),
        ({"SYNC_VIEWS": "async"}, r'ONLOOP\["SYNC_VIEWS"\] must be "thread" or "loop"'),
        ({"SYNC_VIEWS": None}, r'ONLOOP\["SYNC_VIEWS"\] must be "thread" or "loop"'),
        ({"ON_LOOP": "django.contrib.admin"}, r"ONLOOP\['ON_LOOP'\] must be a list of dotted"),
        ({"ON_LOOP": None}, r"ONLOOP\['ON_LOOP'\] must be a list of dotted"),
        ({"IN_THREAD": [len]}, r"ONLOOP\['IN_THREAD'\] must be a list of dotted"),
        ({"LIFESPAN": 5}, r"ONLOOP\['LIFESPAN'\] must be a list of dotted"),
        ({"JSON_ERRORS": "/api/"}, r"ONLOOP\['JSON_ERRORS'\] must be a list of paths"),
        ({"JSON_ERRORS": ["api/"]}, r'"JSON_ERRORS"\] must hold .* begin with "/"; \'api/\''),
        ({"BEARER_PUBLIC_PATHS": "/"}, r"'BEARER_PUBLIC_PATHS'\] must be a list of paths"),
        ({"BEARER_PUBLIC_PATHS": [""]}, r'"BEARER_PUBLIC_PATHS"\] must hold .* begin with "/"'),
        ({"SOCKET_BURST": 0}, r'"SOCKET_BURST"\] must be a whole number of messages above 0'),
        ({"SOCKET_MAX_PER_USER": 1.5}, r"must be a whole number of sockets, 0 or more"),
        ({"SOCKET_TICKET_LIFETIME": 0}, r"must be a number of seconds above 0"),
        ({"SOCKET_CLOSE_TIMEOUT": 0}, r"must be a number of seconds above 0"),
        ({"HTTP": 5}, r'setting ONLOOP\["HTTP"\] must be a dictionary'),
        ({"HTTP": {"RETRY": 5}}, r'setting ONLOOP\["HTTP"\]: RETRY\. Known are: BACKOFF,'),
        ({"HTTP": {"RETRIES": -1}}, r'ONLOOP\["HTTP"\]\["RETRIES"\] must be a whole number'),
        ({"HTTP": {"MAX_PER_HOST": 0}}, r"whole number of requests above 0"),
        *(
            ({"HTTP": {"PUBLIC_PORTS": ports}}, r'\["PUBLIC_PORTS"\] must be a list of ports')
            for ports in (80, [0], ["80"], [65536], [True])
        ),
        *(
            ({"HTTP": {"PUBLIC_ALLOW": networks}}, says)
            for networks, says in (
                (["10.0.0.1/8"], r'"10.1.2.0/24" or "fd12::/64"'),
                (["localhost"], r'"10.1.2.0/24" or "fd12::/64"'),
                ("10.0.0.0/8", r"PUBLIC_ALLOW.* must be a list of networks"),
                ([5], r"PUBLIC_ALLOW.* must be a list of networks"),
            )
        ),
        ({"BEARER_SESSIONS": 1}, r'"BEARER_SESSIONS"\] must be True or False'),
        ({"BEARER_SESSIONS": None}, r'"BEARER_SESSIONS"\] must be True or False'),
        *(
            ({"BEARER_REALM": realm}, r'"BEARER_REALM"\] must be ASCII text')
            for realm in ('a "quoted" one', "a\\b", "a\nb", "a\x00", "\xfc", None, 5)
        ),
        *(
            ({"BEARER_MAX_FAILURES": most}, r'"BEARER_MAX_FAILURES"\] must be a whole number')
            for most in (-1, 1.5, True, None, "5")
        ),
        *(
            ({"BEARER_FAILURE_WINDOW": window}, r'"BEARER_FAILURE_WINDOW"\] must be a number')
            for window in (0, -1, math.inf, math.nan, True, None, "5")
        ),
        ({"BEARER_CLIENT_ADDRESS": len}, r'"BEARER_CLIENT_ADDRESS"\] must be the dotted path'),
        ({"IMPLICIT_IO": "refuse"}, r'ONLOOP\["IMPLICIT_IO"\] must be "allow" or "raise"'),
        ({"IMPLICIT_IO": True}, r'ONLOOP\["IMPLICIT_IO"\] must be "allow" or "raise"'),
        ({"READY_TIMEOUT": 0}, r'ONLOOP\["READY_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": 0}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": -1}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": True}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": None}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": "5"}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": math.inf}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"TURN_TIMEOUT": math.nan}, r'ONLOOP\["TURN_TIMEOUT"\] must be a number of seconds'),
        ({"SQLITE_INLINE_MS": -1}, r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli'),
        ({"SQLITE_INLINE_MS": True}, r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli'),
        ({"SQLITE_INLINE_MS": None}, r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli'),
        ({"STALL_MS": -1}, r'ONLOOP\["STALL_MS"\] must be a number of milli'),
        ({"STALL_MS": True}, r'ONLOOP\["STALL_MS"\] must be a number of milli'),
        ({"STALL_MS": None}, r'ONLOOP\["STALL_MS"\] must be a number of milli'),
        ({"STALL_MS": math.inf}, r'ONLOOP\["STALL_MS"\] must be a number of milli'),
        ({"SQLITE_INLINE_MS": "5"}, r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli'),
        (
            {"SQLITE_INLINE_MS": math.inf},
            r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli',
        ),
        (
            {"SQLITE_INLINE_MS": math.nan},
            r'ONLOOP\["SQLITE_INLINE_MS"\] must be a number of milli',
        ),
    ],
)
def test_an_invalid_value_is_refused_with_the_place_and_the_cure(value, says):
    with override_settings(ONLOOP=value), pytest.raises(ImproperlyConfigured, match=says):
        conf.get()


def test_the_settings_are_read_once():
    assert conf.get() is conf.get()


def test_a_changed_setting_is_read_again_and_so_is_the_old_one():
    before = conf.get()
    with override_settings(ONLOOP={"TURN_TIMEOUT": 7}):
        inside = conf.get().TURN_TIMEOUT
    assert (inside, conf.get()) == (7, before)


def test_another_setting_that_changes_is_none_of_its_business():
    before = conf.get()
    with override_settings(USE_TZ=False):
        assert conf.get() is before


def test_what_was_refused_is_refused_again():
    with override_settings(ONLOOP={"SYNC_VIEWS": "async"}):
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured):
                conf.get()
