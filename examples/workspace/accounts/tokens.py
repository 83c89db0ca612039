"""The page of one's bearer tokens. The text of one is in the answer that issues it, and only
there: neither a session nor a message keeps it for a page that comes after."""

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.forms import TokenForm
from accounts.roles import by_session, role_of
from workspace.pages import private_page, takes_form_of

MAX_SHOWN = 20  # of those that are not valid any more


@require_http_methods(["GET", "HEAD", "POST"])
@by_session
async def index(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return await _page(request)
    form = TokenForm(request.POST)
    if not form.is_valid():
        return await _page(request, form=form, status=400)
    try:
        token, text = await services.issue_token(request.user, **form.cleaned_data)
    except services.TooManyTokens as error:
        form.add_error(None, str(error))
        return await _page(request, form=form, status=409)
    except services.TokenNameTaken as error:
        form.add_error("name", str(error))
        return await _page(request, form=form, status=409)
    return await _page(request, token=token, text=text)


@takes_form_of("tokens")
@by_session
async def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = await services.revoke_token(request.user, pk)
    if token is None:
        raise Http404("You have no such token.")
    messages.success(request, f"“{token.name}” is revoked. Nobody gets in by it any more.")
    return redirect("tokens")


async def _page(request: HttpRequest, status: int = 200, **context: Any) -> HttpResponse:
    valid = services.valid_tokens(request.user)
    ended = request.user.bearer_tokens.exclude(pk__in=valid.values("pk"))
    context = {
        "role": role_of(request.user),
        "form": TokenForm(),
        "valid": await valid.order_by("-pk").alist(),
        "ended": await ended.order_by(F("revoked").desc(nulls_last=True), "-pk")[
            :MAX_SHOWN
        ].alist(),
        **context,
    }
    return private_page(request, "accounts/tokens.html", context, status=status)
