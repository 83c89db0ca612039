"""What another process does to the example's data while its server runs."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.workspace.conftest import PASSWORD, WORKSPACE

DEADLINE_S = 90


async def shell(env: dict[str, str], code: str) -> str:
    """Run code in `manage.py shell`, with the imports it needs; returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "manage.py", "shell", "--verbosity=0", "--command", code),
        cwd=WORKSPACE,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def account(env: dict[str, str], name: str, role: str, *rooms: str) -> None:
    """Make an account with the tests' password, or change its role; it is in these rooms."""
    await shell(
        env,
        "from accounts.models import Profile\n"
        "from django.contrib.auth import get_user_model\n"
        "from rooms.models import Membership, Room\n"
        f"user, _ = get_user_model().objects.get_or_create(username={name!r})\n"
        f"user.set_password({PASSWORD!r}); user.save()\n"
        f"Profile.objects.update_or_create(user=user, defaults={{'role': {role!r}}})\n"
        f"for room in Room.objects.filter(slug__in={rooms!r}):\n"
        "    Membership.objects.get_or_create(room=room, user=user)\n",
    )
