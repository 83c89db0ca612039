"""Products from elsewhere, by their SKU: new ones are made, known ones are brought up to date.

The stock of a known product is left alone: what a file of yesterday says about it is not true
any more (``catalogue.services`` has all changes of a stock).
"""

from collections.abc import Mapping, Sequence

from django.db import transaction

from catalogue.models import Category, Product
from catalogue.table import Item

KEPT_UP_TO_DATE = ["name", "category", "price", "description"]


async def category_ids() -> dict[str, int]:
    return {slug: pk async for slug, pk in Category.objects.values_list("slug", "pk")}


@transaction.atomic
async def upsert(items: Sequence[Item], categories: Mapping[str, int]) -> dict[str, int]:
    """Write products with different SKUs; return how many were created, updated, unchanged."""
    skus = [item.sku for item in items]
    locked = Product.objects.select_for_update().filter(sku__in=skus).order_by("pk")
    known = {product.sku: product for product in await locked.alist()}
    new, changed = [], []
    for item in items:
        values = {
            "name": item.name,
            "category_id": categories[item.category],
            "price": item.price,
            "description": item.description,
        }
        product = known.get(item.sku)
        if product is None:
            new.append(Product(sku=item.sku, stock=item.stock, **values))
        elif any(getattr(product, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(product, name, value)
            changed.append(product)
    # In the order of their SKUs, and no error if somebody else has just made one of them.
    await Product.objects.abulk_create(
        sorted(new, key=lambda product: product.sku),
        update_conflicts=True,
        unique_fields=["sku"],
        update_fields=KEPT_UP_TO_DATE,
    )
    await Product.objects.abulk_update(changed, KEPT_UP_TO_DATE)
    unchanged = len(items) - len(new) - len(changed)
    return {"created": len(new), "updated": len(changed), "unchanged": unchanged}
