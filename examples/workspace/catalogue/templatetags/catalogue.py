"""How products and amounts look."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from django import template

from catalogue.models import Product
from workspace import words

register = template.Library()

DRAWINGS = Path(__file__).parent.parent / "static" / "catalogue" / "glyphs.svg"
# The categories that there is a drawing for; others get a box.
DRAWN = frozenset(re.findall(r'<symbol id="([a-z-]+)"', DRAWINGS.read_text()))
FINISHES = frozenset(finish for finish, _ in words.FINISHES)


@register.filter
def euros(amount: Decimal) -> str:
    return f"€\N{NO-BREAK SPACE}{amount:,.2f}"


@register.inclusion_tag("catalogue/_tile.html")
def tile(product: Product) -> dict[str, Any]:
    """A drawing in the colour of the product's finish, which its name ends in."""
    slug, finish = product.category.slug, product.name.rpartition(", ")[2]
    return {
        "glyph": slug if slug in DRAWN else "thing",
        "finish": finish if finish in FINISHES else "plain",
    }
