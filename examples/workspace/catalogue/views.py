"""The catalogue as JSON: open to all, so it knows nothing of users and their orders."""

import uuid

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse

from catalogue import queries, search, services
from catalogue.forms import clean_order, order_json, product_json
from catalogue.models import Product
from workspace.api import ApiError, api_view, clean, paginate, read_json


@api_view("GET")
async def products(request: HttpRequest) -> HttpResponse:
    page = await paginate(await search.find(search.read(request.GET)), request.GET)
    return JsonResponse(await page.as_json(product_json))


@api_view("GET")
async def product(request: HttpRequest, pk: int) -> HttpResponse:
    found = await Product.objects.filter(pk=pk).afirst()
    if found is None:
        raise ApiError(404, "There is no such product.")
    return JsonResponse(product_json(found))


@api_view("GET")
async def summary(request: HttpRequest) -> HttpResponse:
    return JsonResponse(await queries.summary())


@api_view("POST")
async def orders(request: HttpRequest) -> HttpResponse:
    name, email, wanted = clean_order(read_json(request))
    try:
        order = await services.place_order(name, email, wanted)
    except services.UnknownProducts as error:
        raise ApiError(
            404,
            "Some products do not exist.",
            fields={"lines": [{"product": pk} for pk in error.ids]},
        ) from None
    except services.OutOfStock as error:
        raise _out_of_stock(error) from None
    return JsonResponse(
        order_json(order, await order.lines.select_related("product").alist()),
        status=201,
        headers={"Location": reverse("order", args=[order.reference])},
    )


@api_view("GET")
async def order(request: HttpRequest, reference: uuid.UUID) -> HttpResponse:
    found = await services.without_account().filter(reference=reference).afirst()
    if found is None:
        raise ApiError(404, "There is no such order.")
    return JsonResponse(order_json(found))


@api_view("POST")
async def cancel(request: HttpRequest, reference: uuid.UUID) -> HttpResponse:
    clean(read_json(request), {})  # an empty object: what is not JSON a foreign page could send
    try:
        cancelled = await services.cancel_order(reference, services.without_account())
    except services.UnknownOrder:
        raise ApiError(404, "There is no such order.") from None
    except services.AlreadyCancelled:
        raise ApiError(409, "This order has been cancelled before.") from None
    return JsonResponse(order_json(cancelled))


def _out_of_stock(error: services.OutOfStock) -> ApiError:
    lines = [
        {
            "product": shortage.product.pk,
            "sku": shortage.product.sku,
            "wanted": shortage.wanted,
            "in_stock": shortage.product.stock,
        }
        for shortage in error.shortages
    ]
    return ApiError(409, "There is not enough in stock.", fields={"lines": lines})
