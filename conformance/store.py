"""What is kept of a run: every test's outcome in `.conformance`, the counts in `results/`.

The first is a cache, so that a run can be interrupted and goes on where it was. The second is
part of the project: the table in `docs/conformance.md` is made from it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from conformance.jobs import Outcome
from conformance.suite import CACHE, ROOT
from conformance.verdict import Verdict

RESULTS = Path(__file__).with_name("results")


@cache
def source() -> str:
    """A fingerprint of Onloop's source: results of another one are out of date."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src" / "onloop").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def frozen_source() -> Iterator[Path]:
    """A copy of Onloop's source as it is now: who goes on editing does not disturb a run."""
    source()
    with tempfile.TemporaryDirectory(prefix="onloop-conformance-") as folder:
        shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True)
        yield Path(folder)


class Cache:
    """The outcomes of one run (`django-6.1.3/postgresql`), a file a label and engine."""

    def __init__(self, version: str, run: str) -> None:
        self.folder = CACHE / "outcomes" / version / run

    def _file(self, engine: str, label: str) -> Path:
        return self.folder / engine / f"{label}.json"

    def get(self, engine: str, label: str, fingerprint: str) -> Outcome | None:
        try:
            kept = json.loads(self._file(engine, label).read_text())
        except FileNotFoundError:
            return None
        return Outcome(**kept["outcome"]) if kept["fingerprint"] == fingerprint else None

    def put(self, engine: str, outcome: Outcome, fingerprint: str) -> None:
        file = self._file(engine, outcome.label)
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {"fingerprint": fingerprint, "outcome": asdict(outcome)}
        file.write_text(json.dumps(kept, indent=1))


class Summary:
    """The counts of one run, by label: `results/django-6.1-postgresql.json`."""

    def __init__(self, name: str) -> None:
        self.file = RESULTS / f"{name}.json"
        self.content: dict[str, Any] = {"about": {}, "labels": {}}
        if self.file.exists():
            self.content = json.loads(self.file.read_text())

    def about(self, **versions: str) -> None:
        self.content["about"] = versions

    def add(self, verdict: Verdict, day: str) -> None:
        """Put the counts of a label in the place of earlier ones; not of one without tests."""
        if verdict.stock or verdict.onloop or verdict.new:
            self.content["labels"][verdict.label] = {
                "stock": verdict.stock,
                "onloop": verdict.onloop,
                "known": len(verdict.known),
                "new": len(verdict.new),
                "when": day,
            }

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        labels = self.content["labels"]
        about = json.dumps(self.content["about"])
        rows = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(labels[key])}" for key in sorted(labels)
        )
        self.file.write_text(f'{{"about": {about},\n "labels": {{\n{rows}\n}}}}\n')
