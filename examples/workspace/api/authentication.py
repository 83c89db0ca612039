"""Who asks: by a bearer token, which Onloop's middleware has looked at, or by a session."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request


class BearerToken(BaseAuthentication):
    """``BearerTokenMiddleware`` has refused whatever is not valid; here is only what is.

    Named first, so that whoever is not known is answered with 401 and how to become it.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        token = getattr(request._request, "token", None)
        return None if token is None else (token.user, token)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        text = "A token from your profile, or from `manage.py bearer_tokens issue`."
        return {"type": "http", "scheme": "bearer", "description": text}
