"""What is in whose basket. Prices and stock are the products' own, as they are now."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import Q

from catalogue.models import Product


class BasketLine(models.Model):
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="basket_lines"
    )
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="basket_lines")
    quantity = models.PositiveIntegerField()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "product"], name="basket_line_once_per_product"
            ),
            models.CheckConstraint(
                condition=Q(quantity__gt=0), name="basket_line_quantity_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product}"

    @property
    def amount(self) -> Decimal:
        return self.product.price * self.quantity

    @property
    def is_short(self) -> bool:
        return self.quantity > self.product.stock
