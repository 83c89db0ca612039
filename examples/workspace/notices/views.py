"""The page of notices. It works without JavaScript; the bell on each page is live with it."""

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from notices import services
from notices.models import Notice
from workspace.api import ApiError, paginate
from workspace.pages import private_page, takes_form_of


@require_safe
@login_required
async def index(request: HttpRequest) -> HttpResponse:
    own = Notice.objects.filter(user=request.user)
    try:
        page = await paginate(own, request.GET)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return render(request, "400.html", {"error": error}, status=error.status)
    context = {
        "page": page,
        "notices": await page.rows.alist(),
        # What comes after it was not seen by whoever presses the button.
        "newest": await own.order_by("-pk").values_list("pk", flat=True).afirst(),
    }
    return private_page(request, "notices/index.html", context)


@require_safe
@login_required
async def follow(request: HttpRequest, pk: int) -> HttpResponse:
    """To what the notice is about. Whoever goes there has read it."""
    try:
        notice = await services.read_one(request.user, pk)
    except services.UnknownNotice:
        raise Http404("You have no such notice.") from None
    if url_has_allowed_host_and_scheme(notice.path, allowed_hosts=None):
        return redirect(notice.path)
    return redirect("notices")


@takes_form_of("notices")
@login_required
async def read(request: HttpRequest) -> HttpResponse:
    text = request.POST.get("up_to", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404("There is no such notice.")
    await services.mark_read(request.user, int(text))
    return redirect("notices")
