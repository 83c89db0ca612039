"""The admin's side of the shop. Stock and orders change through ``services`` here as well."""

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from catalogue import services
from catalogue.models import MAX_STOCK, Category, Order, OrderLine, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "size"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        return super().get_queryset(request).annotate(size=Count("products"))

    @admin.display(description="products", ordering="size")
    def size(self, category: Category) -> int:
        return category.size


class ProductForm(forms.ModelForm):
    stock_change = forms.IntegerField(
        required=False,
        min_value=-MAX_STOCK,
        max_value=MAX_STOCK,
        help_text="Added to the stock when you save; negative takes away.",
    )


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    form = ProductForm
    list_display = ["name", "sku", "category", "price", "stock"]
    list_filter = ["category"]
    list_select_related = ["category"]
    search_fields = ["name", "sku"]
    autocomplete_fields = ["category"]
    fields = ["category", "sku", "name", "description", "price", "stock", "stock_change"]

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        return [name for name in self.fields if obj or name != "stock_change"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Product | None = None
    ) -> list[str]:
        return ["stock"] if obj else []

    def save_model(
        self, request: HttpRequest, obj: Product, form: ProductForm, change: bool
    ) -> None:
        """Write only what was edited.

        The stock that this page was filled with may be an hour old. Saved back whole, it would
        undo every sale since.
        """
        if not change:
            super().save_model(request, obj, form, change)
            return
        obj.save(update_fields=[name for name in form.changed_data if name != "stock_change"])
        if difference := form.cleaned_data.get("stock_change"):
            try:
                services.adjust_stock(obj.pk, difference)
            except services.StockOutOfRange:
                message = f"The stock was left alone: it must stay between 0 and {MAX_STOCK}."
                self.message_user(request, message, messages.ERROR)


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    fields = readonly_fields = ["product", "quantity", "unit_price", "amount"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderLine]:
        return super().get_queryset(request).select_related("product")


class KeptAsPlaced(admin.ModelAdmin):
    """Records that are made and unmade by services only, or the stock would not add up."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write only what was edited: the order may have been cancelled since it was read."""
        obj.save(update_fields=form.changed_data)


@admin.register(Order)
class OrderAdmin(KeptAsPlaced):
    list_display = ["reference", "customer_name", "user", "status", "total", "created_at"]
    list_filter = ["status", "created_at"]
    search_fields = ["customer_name", "customer_email", "=reference"]
    list_select_related = ["user"]
    date_hierarchy = "created_at"
    readonly_fields = ["reference", "user", "status", "total", "created_at", "cancelled_at"]
    inlines = [OrderLineInline]
    actions = ["cancel"]

    @admin.action(
        description="Cancel selected orders, return their goods", permissions=["change"]
    )
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """Sync code that calls an ``async def`` service: on the loop it is simply awaited."""
        cancelled = 0
        for order in orders:
            try:
                cancel = async_to_sync(services.cancel_order)
                cancel(order.reference, Order.objects.all(), by=request.user)
            except services.AlreadyCancelled:
                continue
            cancelled += 1
        self.message_user(request, f"Orders cancelled: {cancelled}.")


@admin.register(OrderLine)
class OrderLineAdmin(KeptAsPlaced):
    list_display = ["order", "product", "quantity", "unit_price"]
    list_filter = ["product__category"]
    list_select_related = ["order", "product"]
    search_fields = ["product__name", "product__sku", "order__customer_name"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
