"""The basket's page and its forms. They work without JavaScript.

An address that takes a form leads to the basket when it is opened: that is where a log-in on
the way comes back to.
"""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.models import Role
from accounts.roles import requires
from basket import services
from basket.forms import AddForm, CheckOutForm, read_quantities, whole
from catalogue.forms import MAX_QUANTITY
from catalogue.services import OutOfStock, UnknownProducts
from workspace.api.fields import MAX_ID
from workspace.pages import private_page


@requires(Role.GUEST)
async def index(request: HttpRequest) -> HttpResponse:
    return await _page(request)


@requires(Role.GUEST)
async def add(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return redirect("basket")
    form = AddForm(request.POST)
    if form.is_valid():
        await _add(request, form.cleaned_data["sku"], form.cleaned_data["quantity"])
    else:
        messages.error(request, f"Choose a whole number from 1 to {MAX_QUANTITY:,}.")
    return redirect(_back(request))


async def _add(request: HttpRequest, sku: str, quantity: int) -> None:
    try:
        line = await services.add(request.user, sku, quantity)
    except UnknownProducts:
        raise Http404("There is no such product.") from None
    except services.Full as error:
        messages.error(request, str(error))
    except OutOfStock as error:
        (shortage,) = error.shortages
        messages.error(request, _too_many(shortage.product, shortage.wanted - quantity))
    else:
        messages.success(request, f"{line.product.name}: {line.quantity} in your basket.")


def _too_many(product: Any, in_basket: int) -> str:
    if not product.stock:
        return f"{product.name} has just sold out."
    there = f"Only {product.stock:,} of {product.name} in stock"
    return f"{there}, {in_basket:,} of them in your basket." if in_basket else f"{there}."


@requires(Role.GUEST)
async def change(request: HttpRequest) -> HttpResponse:
    """New quantities, one line less, or no more than there is."""
    if request.method != "POST":
        return redirect("basket")
    if "fit" in request.POST:
        await services.take_what_there_is(request.user)
        messages.success(request, "Your basket now holds what is in stock.")
        return redirect("basket")
    if "remove" in request.POST:
        product = whole(request.POST["remove"], MAX_ID)
        await services.set_quantities(request.user, {product: 0} if product else {})
        messages.success(request, "Removed from your basket.")
        return redirect("basket")
    quantities, wrong = read_quantities(request.POST)
    if wrong:
        return await _page(request, wrong=wrong, problem="marked", status=400)
    await services.set_quantities(request.user, quantities)
    return redirect("basket")


@requires(Role.GUEST)
async def check_out(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return redirect("basket")
    form = CheckOutForm(request.POST)
    quantities, wrong = read_quantities(request.POST)
    if wrong or not form.is_valid():
        is_whole = form.errors.keys().isdisjoint(["key", "seen"])
        return await _page(
            request, wrong=wrong, problem="marked" if is_whole else "incomplete", status=400
        )
    try:
        order = await services.check_out(
            request.user, **form.cleaned_data, quantities=quantities
        )
    except services.Empty:
        return await _page(request, problem="empty", status=409)
    except services.Changed:
        await services.set_quantities(request.user, quantities)
        return await _page(request, problem="changed", status=409)
    except OutOfStock as error:
        return await _page(request, problem="short", missing=error.shortages, status=409)
    return redirect("order-page", order.reference)


async def _page(
    request: HttpRequest,
    *,
    status: int = 200,
    wrong: dict[int, str] | None = None,
    **context: Any,
) -> HttpResponse:
    basket = await services.basket_of(request.user)
    for line in basket.lines:
        line.typed = (wrong or {}).get(line.product_id)
    context |= {
        "here": "basket",
        "basket": basket,
        "form": CheckOutForm.fresh(request.user, basket.mark, request.POST),
        "max_quantity": MAX_QUANTITY,
    }
    return private_page(request, "basket/index.html", context, status=status)


def _back(request: HttpRequest) -> str:
    """The page of this service from which the form was sent."""
    path = request.POST.get("next", "")
    is_ours = path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return path if is_ours else "basket"
