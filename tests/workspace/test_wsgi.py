"""The example service under WSGI: the same settings, async views too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from django.test import Client

client = Client(headers={"host": "127.0.0.1"})
page = client.get("/catalogue/")
assert page.status_code == 200, page.status_code
product = client.get("/catalogue/products/").json()["items"][0]
assert product["category"], product
order = {
    "customer": {"name": "A buyer", "email": "buyer@example.com"},
    "lines": [{"product": 10**9, "quantity": 1}],
}
unknown = client.post("/catalogue/orders/", order, content_type="application/json")
assert unknown.status_code == 404, unknown.content
stocked = next(p for p in client.get("/catalogue/products/").json()["items"] if p["stock"])
order["lines"] = [{"product": stocked["id"], "quantity": 1}]
placed = client.post("/catalogue/orders/", order, content_type="application/json")
assert placed.status_code == 201, placed.content
assert len(client.get("/catalogue/summary/").json()) == 10
assert client.get("/health/ready/").json()["databases"] == {"default": "ok"}
panels = client.get("/panels/data/").json()["panels"]  # without a lifespan none of them runs
assert {panel["problem"] for panel in panels} == {"It is not set up here."}, panels
assert client.get("/panels/").status_code == 200

from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from files.models import StoredFile

client.force_login(get_user_model().objects.get(username="robin"))
added = client.post("/basket/add/", {"sku": stocked["sku"], "quantity": 1})
assert added.status_code == 302, added.content
for path in ("/basket/", "/orders/", f"/catalogue/item/{stocked['sku']}/"):
    assert client.get(path).status_code == 200, path
sent = client.post("/files/", {"file": SimpleUploadedFile("wsgi.txt", b"by form")})
assert sent.status_code == 302, sent.content
raw = client.post(
    "/files/raw/?name=raw.txt", b"by body", content_type="application/octet-stream"
)
assert raw.status_code == 201, raw.content
got = client.get(f"/files/{raw.json()['id']}/", headers={"range": "bytes=3-"})
assert (got.status_code, got.getvalue()) == (206, b"body")
begun = client.post("/jobs/", {"kind": "report"})  # it is done when this process ends
assert begun.status_code == 302, begun.content
assert client.get(begun["Location"]).status_code == 200
assert client.get("/jobs/").status_code == 200
from notices.models import Notice

assert client.get("/notices/").status_code == 200
assert client.get("/directory/").status_code == 200
assert client.post("/accounts/tokens/", {"name": "by WSGI", "expires": "1"}).status_code == 200
owner = Client(headers={"host": "127.0.0.1"})
owner.force_login(get_user_model().objects.get(username="demo"))
new = Client(headers={"host": "127.0.0.1"})
form = {"username": "by-wsgi", "password1": "only-for-this", "password2": "only-for-this"}
assert new.post("/accounts/sign-up/", form).status_code == 302
user = get_user_model().objects.get(username="by-wsgi")
changed = owner.post(f"/accounts/members/{user.pk}/role/", {"role": "guest"})
assert changed.status_code == 302, changed.content
assert Notice.objects.filter(user=user).count() == 2
assert new.get("/accounts/me/").json()["role"] == "guest"
print("served")
"""


def test_async_views_with_lazy_relations_are_served_under_wsgi(
    workspace_env: dict[str, str], folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", SCRIPT],
        cwd=folder,
        env={**os.environ, **workspace_env},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "served" in done.stdout
