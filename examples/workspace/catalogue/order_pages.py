"""Orders as pages: one's own, and all of them for owners."""

import uuid
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import Role
from accounts.roles import requires
from catalogue import services
from catalogue.models import Order
from catalogue.queries import orders_with
from workspace.api import ApiError, paginate
from workspace.api.fields import query_text
from workspace.pages import private_page

PER_PAGE = 20


@requires(Role.GUEST)
async def mine(request: HttpRequest) -> HttpResponse:
    return await _list(request, services.of_user(request.user), "my")


@requires(Role.OWNER)
async def everybodys(request: HttpRequest) -> HttpResponse:
    return await _list(request, services.visible_to(request.user), "all")


async def _list(request: HttpRequest, orders: QuerySet[Order], whose: str) -> HttpResponse:
    try:
        orders, asked = _narrowed(orders, request)
        page = await paginate(orders, request.GET, per_page=PER_PAGE)
    except ApiError as error:
        if error.status == 404:
            raise Http404(error.message) from None
        return private_page(request, "400.html", {"error": error}, status=error.status)
    # The lines of this page's orders, not of all of them.
    found = await page.rows.prefetch_related("lines__product").alist()
    for order in found:
        order.items = sum(line.quantity for line in order.lines.all())
    context: dict[str, Any] = {
        "page": page,
        "orders": found,
        "whose": whose,
        "here": f"{whose}-orders",
        "statuses": Order.Status.choices,
        **asked,
    }
    return private_page(request, "catalogue/orders.html", context)


def _narrowed(
    orders: QuerySet[Order], request: HttpRequest
) -> tuple[QuerySet[Order], dict[str, str]]:
    asked = {"q": query_text(request.GET, "q", 100), "status": request.GET.get("status", "")}
    orders = orders_with(orders, asked["q"])
    if asked["status"]:
        if asked["status"] not in Order.Status.values:
            wrong = {"status": f"Must be one of: {', '.join(Order.Status.values)}."}
            raise ApiError(400, "The query is not valid.", fields=wrong)
        orders = orders.filter(status=asked["status"])
    return orders, asked


@requires(Role.GUEST)
async def order(request: HttpRequest, reference: uuid.UUID) -> HttpResponse:
    found = await services.visible_to(request.user).filter(reference=reference).afirst()
    if found is None:
        raise Http404("You have no such order.")
    context = {"order": found, "lines": found.lines.select_related("product__category")}
    return private_page(request, "catalogue/order.html", context)


@requires(Role.GUEST)
async def cancel(request: HttpRequest, reference: uuid.UUID) -> HttpResponse:
    if request.method == "POST":
        own = services.visible_to(request.user)
        try:
            await services.cancel_order(reference, own, by=request.user)
        except services.UnknownOrder:
            raise Http404("You have no such order.") from None
        except services.AlreadyCancelled:
            messages.info(request, "This order was cancelled before. Nothing has changed.")
        else:
            messages.success(request, "The order is cancelled, its goods are back in stock.")
    return redirect("order-page", reference)
