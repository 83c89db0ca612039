"""R14: 2,000 sockets, 200 killed a second: 0 orphans in groups or presence after 30 s.

The short form has 60 sockets in five rooms of two servers, one Redis and one database, and
kills 80, twenty at a time; the full one has 40 rooms and kills 12,000: 200 within a second, and
the next 200 once the machine has let their successors come. Killed: a connection is reset. At
the end one of the two servers is killed too. What it leaves behind in presence and in groups is
gone after four heartbeats, of half a second in the short form and of five in the full one. Then
each room is sent to, and all who are left hear it once and in order.
"""

import contextlib

import pytest
from django.test import override_settings
from redis import Redis

from onloop.rooms import presence
from tests.channels.conftest import DEADLINE_S
from tests.reliability.findings import Findings, Found
from tests.reliability.room_crowd import RoomCrowd
from tests.reliability.scale import FULL, LONG_S, size
from tests.rooms.conftest import close_layer
from tests.rooms.processes import serving

pytestmark = pytest.mark.timeout(LONG_S)

SOCKETS = size(60, full=2_000)
KILLS = size(80, full=12_000)
WAVE = size(20, full=200)
ROOMS = 40 if FULL else 5
# Seconds of a heartbeat, and until nothing may be left.
BEAT_S = 5.0 if SOCKETS >= 2_000 else 0.5
HEALS_S = 30.0 if SOCKETS >= 2_000 else DEADLINE_S


@pytest.fixture
def crowd(asgi_servers, db_clean, redis_server):
    """`await crowd(layer)`: run, judge."""

    async def run(backend=None, *, heals_s=HEALS_S, sockets=SOCKETS, kills=KILLS, **planted):
        findings = Findings(f"R14, {sockets} sockets")
        expiry = 4 * BEAT_S
        layer = redis_server.layer(group_expiry=max(1, int(expiry)))
        if backend is not None:
            layer = {"BACKEND": backend, "CONFIG": {"hosts": [redis_server.url]}}
        servers = [
            # All come from one address, and who is killed is chance.
            asgi_servers.get(serving(name, layer, BEAT_S, SOCKET_MAX_PER_ADDRESS=0, **planted))
            for name in ("lives", "dies")
        ]
        with (
            override_settings(
                CHANNEL_LAYERS={"default": layer}, ONLOOP={"ROOMS_HEARTBEAT": BEAT_S}
            ),
            contextlib.closing(Redis(port=redis_server.port)) as redis,
        ):
            from channels.layers import channel_layers

            await RoomCrowd(
                findings,
                servers,
                redis,
                sockets=sockets,
                kills=kills,
                wave=WAVE,
                kills_per_s=200,
                heals_s=heals_s,
                count=ROOMS,
            ).run()
            await close_layer(channel_layers["default"])
        findings.judge()
        return findings

    return run


async def test_nobody_is_told_to_be_there_who_is_not(crowd):
    findings = await crowd()
    assert findings.counts["sockets killed"] == KILLS
    assert findings.counts["servers killed"] == 1
    assert findings.counts["delivered"] > 0


# --- the harness finds what is broken on purpose ----------------------------------------------


async def test_the_dead_that_are_never_found_dead_are_found(crowd, monkeypatch):
    """A server counts for ever, and Channels' own layer keeps a group's channels for a day."""
    monkeypatch.setattr(presence, "BEATS", 10_000)
    with pytest.raises(Found) as caught:
        await crowd(
            "channels_redis.core.RedisChannelLayer",
            heals_s=1,
            sockets=max(20, 2 * WAVE),
            kills=WAVE,
            application="tests.reliability.room_planted:application",
        )
    print(caught.value)
    assert "orphan in presence" in caught.value.kinds
    assert "orphan in groups" in caught.value.kinds
