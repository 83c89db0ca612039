"""Tokens in the admin: to look at, never to write, and no hash."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from onloop.tokens.models import Token


@pytest.fixture
def admin(db_clean):
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def token(admin):
    return Token.issue(User.objects.create_user("ada"), name="a script")[0]


def address(name, *args):
    return reverse(f"admin:onloop_tokens_token_{name}", args=args)


@pytest.mark.parametrize("query", ["", "a script", "ada"])
def test_the_list_shows_and_finds_tokens(admin, token, query):
    page = admin.get(address("changelist"), {"q": query}).content.decode()
    assert token.visible_id in page
    assert token.secret_hash not in page
    assert (
        token.visible_id not in admin.get(address("changelist"), {"q": "eve"}).content.decode()
    )


def test_a_token_is_shown_without_its_hash_and_cannot_be_written(admin, token):
    page = admin.get(address("change", token.pk)).content.decode()
    assert token.visible_id in page
    assert token.secret_hash not in page
    assert 'name="_save"' not in page
    assert admin.post(address("change", token.pk), {"name": "other"}).status_code == 403
    assert admin.get(address("add")).status_code == 403


def test_a_user_with_tokens_can_be_deleted(admin, token):
    page = reverse("admin:auth_user_delete", args=[token.user_id])
    assert admin.post(page, {"post": "yes"}).status_code == 302
    assert not Token.objects.exists()
