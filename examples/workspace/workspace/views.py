"""The start page."""

import asyncio

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from catalogue.models import Category, Order, Product
from people.models import Person


async def start(request: HttpRequest) -> HttpResponse:
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
    return render(request, "start.html", {"figures": figures})
