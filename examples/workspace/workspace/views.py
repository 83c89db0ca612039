"""The start page: an introduction for visitors, a home for whoever is logged in."""

import asyncio

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.roles import role_of
from catalogue.models import Category, Order, Product
from people.models import Person
from workspace import home
from workspace.pages import private_page


@require_safe
async def start(request: HttpRequest) -> HttpResponse:
    user = request.user
    if not user.is_authenticated:
        return await introduction(request)
    context = await home.shown_to(user)
    return private_page(request, "home.html", {**context, "role": role_of(user)})


async def introduction(request: HttpRequest) -> HttpResponse:
    """Four counts, asked for at once on four connections."""
    people, products, categories, orders = await asyncio.gather(
        Person.objects.acount(),
        Product.objects.acount(),
        Category.objects.acount(),
        Order.objects.acount(),
    )
    figures = {
        "people": people,
        "products": products,
        "categories": categories,
        "orders": orders,
    }
    return private_page(request, "start.html", {"figures": figures})
