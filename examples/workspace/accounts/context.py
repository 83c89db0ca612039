"""What each page is told about accounts."""

from typing import Any

from django.conf import settings
from django.contrib.messages import get_messages
from django.http import HttpRequest


def account(request: HttpRequest) -> dict[str, Any]:
    """``told`` is what Django calls messages, a word that the rooms need for their own."""
    return {"sign_up_is_open": settings.SIGN_UP, "told": get_messages(request)}
