"""Users by bearer token: who sends one is its user, who sends none gets only what is public.

Denies by default. A request must never be let in by one identity and run as another: the user,
the token and the freedom from CSRF checks are set together, by a token that is valid, and
nowhere else.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.views.decorators.debug import sensitive_variables

from onloop import conf
from onloop.middleware import refusals
from onloop.middleware.authorization import MalformedHeader, bearer_token
from onloop.middleware.paths import is_under
from onloop.tokens import failures
from onloop.tokens.text import PREFIX

APP = "onloop.tokens"


class BearerTokenMiddleware:
    """Sets `request.user`, `request.auser` and `request.token` by the Authorization header.

    `request.token` is None where no token was sent. The settings are the names in `ONLOOP` that
    begin with `BEARER_`.
    """

    # Not Django's mixin: of that, Onloop's handler uses the synchronous side, where a cache
    # that is asked over a network would hold the loop.
    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        if not apps.is_installed(APP):
            raise ImproperlyConfigured(
                f'BearerTokenMiddleware needs "{APP}" in INSTALLED_APPS, and its migration.'
            )
        from onloop.tokens.models import Token  # noqa: PLC0415 - only where it is installed

        self._tokens = Token.objects
        self.get_response = get_response
        self.async_mode = iscoroutinefunction(get_response)
        if self.async_mode:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        response = self._refusal(request)
        return _varying(self.get_response(request) if response is None else response)

    async def __acall__(self, request: HttpRequest) -> Any:
        response = await self._arefusal(request)
        return _varying(await self.get_response(request) if response is None else response)

    @sensitive_variables()
    def _refusal(self, request: Any) -> HttpResponseBase | None:
        request.token = None
        try:
            text = _text_of(request)
        except MalformedHeader:
            return refusals.malformed(request)
        if text is None:
            if _is_public(request) or (conf.get().BEARER_SESSIONS and _has_session(request)):
                return None
            return refusals.missing(request)
        token = self._tokens.authenticate(text)
        if token is not None:
            _let_in(request, token)
            return None
        return _not_valid(request, failures.count(request))

    @sensitive_variables()
    async def _arefusal(self, request: Any) -> HttpResponseBase | None:
        request.token = None
        try:
            text = _text_of(request)
        except MalformedHeader:
            return refusals.malformed(request)
        if text is None:
            if _is_public(request) or (
                conf.get().BEARER_SESSIONS and await _ahas_session(request)
            ):
                return None
            return refusals.missing(request)
        token = await self._tokens.aauthenticate(text)
        if token is not None:
            _let_in(request, token)
            return None
        return _not_valid(request, await failures.acount(request))


def _text_of(request: HttpRequest) -> str | None:
    """The token to be looked at. On public paths only one of ours: webhooks send others'."""
    header = request.META.get("HTTP_AUTHORIZATION")
    if not _is_public(request):
        return bearer_token(header)
    try:
        text = bearer_token(header)
    except MalformedHeader:
        return None
    return text if text is not None and text.startswith(PREFIX) else None


def _is_public(request: HttpRequest) -> bool:
    return is_under(request.path_info, conf.get().BEARER_PUBLIC_PATHS)


def _has_session(request: Any) -> bool:
    user = getattr(request, "user", None)
    return user is not None and bool(user.is_authenticated)


async def _ahas_session(request: Any) -> bool:
    ask = getattr(request, "auser", None)
    if ask is None:
        return False
    user = await ask()
    if not hasattr(request, "_cached_user"):
        request._cached_user = user  # `request.user` asks no second time
    return bool(user.is_authenticated)


def _let_in(request: Any, token: Any) -> None:
    user = token.user

    async def auser() -> Any:
        return user

    request.token = token
    request.user = user
    request.auser = auser
    # Where Django's AuthenticationMiddleware looks, should it come after this one: it must not
    # put the session's user in place of the token's, now that no CSRF token is asked for.
    request._cached_user = request._acached_user = user
    # No foreign page can make a browser send this header. `CsrfViewMiddleware` looks when the
    # view is about to be called, so its place in the list is of no importance.
    request._dont_enforce_csrf_checks = True


def _not_valid(request: HttpRequest, wait_s: int) -> HttpResponseBase:
    return refusals.too_many(request, wait_s) if wait_s else refusals.not_valid(request)


def _varying(response: Any) -> Any:
    patch_vary_headers(response, ["Authorization"])
    return response
