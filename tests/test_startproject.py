"""The five lines of the README, on a project as `django-admin startproject` makes it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import newproject
from tests.postgres import ROOT, free_port

HTTP_TIMEOUT_S = 90


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return newproject.make(tmp_path)


@pytest.fixture
def address(project: Path) -> Iterator[str]:
    with served(project) as url:
        yield url


@contextmanager
def served(project: Path) -> Iterator[str]:
    """Migrate the new project and serve it by uvicorn, at the address that is given."""
    newproject.run(project, "manage", "migrate", "--verbosity", "0")
    port = free_port()
    with (project / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "mysite.asgi:application", "--port", str(port)],
            cwd=project,
            env=newproject.environment(),
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(90)
        assert "Traceback" not in (project / "server.log").read_text()


def test_a_new_project_passes_the_system_checks(project: Path) -> None:
    assert "no issues" in newproject.run(project, "manage", "check")


def test_a_new_project_is_served_with_its_admin(address: str) -> None:
    transport = httpx.HTTPTransport(retries=20)  # until uvicorn listens
    with httpx.Client(
        base_url=address, transport=transport, timeout=HTTP_TIMEOUT_S, follow_redirects=True
    ) as client:
        assert "The install worked successfully" in client.get("/").text
        page = client.get("/admin/")
        assert page.status_code == 200
        assert page.url.path == "/admin/login/"
        refused = client.post("/admin/login/", data={"username": "nobody", "password": "no"})
        assert refused.status_code == 403  # no CSRF token
        token = client.cookies["csrftoken"]
        form = {"username": "nobody", "password": "no", "csrfmiddlewaretoken": token}
        answer = client.post("/admin/login/", data=form)
        assert answer.status_code == 200
        assert "Please enter the correct username" in answer.text


# --- the view that the README begins with -----------------------------------------------------

MODELS = """
from django.db import models


class Maker(models.Model):
    name = models.CharField(max_length=50)


class Product(models.Model):
    stock = models.IntegerField()
    maker = models.ForeignKey(Maker, on_delete=models.CASCADE)


class Price(models.Model):
    product = models.ForeignKey(Product, on_delete=models.CASCADE)


class Review(models.Model):
    product = models.ForeignKey(Product, on_delete=models.CASCADE)
"""
VIEWS = """
import asyncio

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from shop.models import Price, Product, Review

receipts = []


async def send_receipt():
    receipts.append("sent")


def plain(request):
    return HttpResponse(f"{Product.objects.get().stock} left, {receipts}")


"""
URLS = """
urlpatterns = [path("order/<int:pk>/", order), path("plain/", plain)]
"""
DATA = """
from shop.models import *
product = Product.objects.create(stock=3, maker=Maker.objects.create(name="Acme"))
Price.objects.create(product=product)
Review.objects.create(product=product)
"""


@pytest.fixture
def with_shop(project: Path) -> Path:
    """With an app of the models that the README's first view asks for, and that view."""
    newproject.run(project, "manage", "startapp", "shop")
    settings = project / "mysite" / "settings.py"
    newproject.replace(settings, '    "onloop",', '    "onloop",\n    "shop",')
    (project / "shop" / "models.py").write_text(MODELS)
    newproject.run(project, "manage", "makemigrations", "--verbosity", "0", "shop")
    templates = project / "shop" / "templates"
    templates.mkdir()
    (templates / "order.html").write_text(
        "{{ maker }}, {{ prices|length }} price, {{ reviews|length }} review, {{ user }}"
    )
    readme = (ROOT / "README.md").read_text()
    (view,) = re.findall(
        r"^```python\n(async def order.*?)^```", readme, re.DOTALL | re.MULTILINE
    )
    (project / "mysite" / "urls.py").write_text(VIEWS + view + URLS)
    return project


def test_the_view_that_the_readme_begins_with_works(with_shop: Path) -> None:
    with served(with_shop) as url:
        newproject.run(with_shop, "manage", "shell", "--command", DATA)
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(base_url=url, transport=transport, timeout=HTTP_TIMEOUT_S) as client:
            assert client.get("/order/1/").text == "Acme, 1 price, 1 review, AnonymousUser"
            assert client.get("/plain/").text == "2 left, ['sent']"
