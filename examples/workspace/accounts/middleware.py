"""What is answered to whoever has tried too many passwords, on whichever page."""

import datetime
import math
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.tries import TooManyTries
from workspace.pages import private_page


class TriesMiddleware:
    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """A page with status 429. Its form can be sent again, from the page before."""
        if not isinstance(exception, TooManyTries):
            return None
        until = timezone.now() + datetime.timedelta(seconds=exception.wait_s)
        context = {
            "until": until,
            "minutes": math.ceil(exception.wait_s / 60),
            "back": request.get_full_path(),
        }
        response = private_page(request, "accounts/too_many.html", context, status=429)
        response["Retry-After"] = str(exception.wait_s)
        return response
