"""A second process of R10 on SQLite: `python -m tests.reliability.bank_process SEED COUNT ID…`

Transfers between the accounts ID in the file that the environment names, and prints a line of
JSON: what it found wrong, and what it did.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any


def main(seed: str, count: str, *accounts: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()
    from django.conf import settings

    from tests.reliability.bank import Bank
    from tests.reliability.findings import Findings

    def outsider(query: str) -> list[Any]:
        path = Path(settings.DATABASES["default"]["NAME"])
        with closing(sqlite3.connect(path, timeout=90)) as connection:
            return connection.execute(query).fetchall()

    findings = Findings(f"R10, process {os.getpid()}")
    bank = Bank(
        int(seed),
        count=int(count),
        at_once=4,
        outsider=outsider,
        accounts=[int(account) for account in accounts],
    )
    asyncio.run(bank.run(findings))
    print(json.dumps({"kinds": findings.kinds, "told": str(findings)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
