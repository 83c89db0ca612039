"""The catalogue as pages. They work without JavaScript."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import Role
from accounts.roles import has_role, requires
from basket.services import quantity_of
from catalogue import search, services
from catalogue.forms import StockForm
from catalogue.models import MAX_STOCK, Category, Product
from workspace.api import ApiError, paginate
from workspace.pages import private_page

PER_PAGE = 24


async def shop(request: HttpRequest) -> HttpResponse:
    """The template loops over QuerySets that nobody has read yet, in this async view."""
    context: dict[str, Any] = {
        "here": "shop",
        "categories": Category.objects.all(),
        "orders": search.ORDERS,
    }
    try:
        wanted = search.read(request.GET)
        context["search"] = wanted
        page = await paginate(await search.find(wanted), request.GET, per_page=PER_PAGE)
    except ApiError as error:
        # What was typed stays in the form, beside what is wrong with it.
        context |= {"error": error, "search": context.get("search", request.GET)}
        return private_page(request, "catalogue/shop.html", context, status=error.status)
    context |= {"page": page, "chosen": await _category(wanted.category)}
    if not page.total:
        context["wider"] = await search.wider(wanted)
    return private_page(request, "catalogue/shop.html", context)


async def _category(slug: str) -> Category | None:
    return await Category.objects.filter(slug=slug).afirst() if slug else None


async def item(request: HttpRequest, sku: str) -> HttpResponse:
    return await _item(request, await _product(sku))


@requires(Role.OWNER)
async def stock(request: HttpRequest, sku: str) -> HttpResponse:
    """Goods that came in, or were found broken: the stock changes by a difference."""
    product = await _product(sku)
    if request.method != "POST":  # the way back from a log-in
        return redirect("item", sku)
    form = StockForm(request.POST)
    if not form.is_valid():
        return await _item(request, product, form=form, status=400)
    try:
        services.adjust_stock(product.pk, form.cleaned_data["change"])
    except services.StockOutOfRange:
        await product.arefresh_from_db(fields=["stock"])
        form.add_error("change", f"The stock must stay between 0 and {MAX_STOCK:,}.")
        return await _item(request, product, form=form, status=409)
    messages.success(request, f"The stock has changed by {form.cleaned_data['change']:+,}.")
    return redirect("item", sku)


async def _product(sku: str) -> Product:
    product = await Product.objects.filter(sku=sku).afirst()
    if product is None:
        raise Http404("There is no such product.")
    return product


async def _item(
    request: HttpRequest, product: Product, *, form: StockForm | None = None, status: int = 200
) -> HttpResponse:
    """``product.category`` is not selected here: the template reads it lazily."""
    siblings = Product.objects.filter(category=product.category_id, stock__gt=0)
    context = {
        "product": product,
        "siblings": siblings.select_related("category").exclude(pk=product.pk)[:4],
        "in_basket": await quantity_of(await request.auser(), product),
        "is_owner": has_role(request.user, Role.OWNER),
        "stock_form": form or StockForm(),
    }
    return private_page(request, "catalogue/item.html", context, status=status)
