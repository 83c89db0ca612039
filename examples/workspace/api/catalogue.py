"""What is for sale. Everybody reads, owners change."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import (
    CreateModelMixin,
    DestroyModelMixin,
    ListModelMixin,
    RetrieveModelMixin,
    UpdateModelMixin,
)
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Role
from api.base import Api, checked
from catalogue import search, services
from catalogue.models import MAX_STOCK, Category, Product
from onloop import async_to_sync


class CategorySerializer(serializers.ModelSerializer):
    class Meta:
        model = Category
        fields = ["id", "name", "slug"]


class ProductSerializer(serializers.ModelSerializer):
    category_name = serializers.CharField(source="category.name", read_only=True)

    class Meta:
        model = Product
        fields = [
            "id",
            "sku",
            "name",
            "description",
            "category",
            "category_name",
            "price",
            "stock",
        ]

    def get_fields(self) -> dict[str, Any]:
        """A stock is given once; afterwards ``adjust-stock`` changes it, by a difference."""
        fields = super().get_fields()
        fields["stock"].read_only = self.instance is not None
        return fields

    def update(self, instance: Product, validated_data: dict[str, Any]) -> Product:
        """Write only what was sent: a sale may have changed the stock since it was read."""
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


class StockChangeSerializer(serializers.Serializer):
    change = serializers.IntegerField(
        min_value=-MAX_STOCK, max_value=MAX_STOCK, help_text="Negative for what went."
    )


class ProductQuery(serializers.Serializer):
    q = serializers.CharField(
        required=False, max_length=100, help_text="Words of the name, SKU or category."
    )
    category = serializers.CharField(required=False, max_length=80, help_text="Its slug.")
    min_price = serializers.CharField(required=False, help_text="Such as 12.50.")
    max_price = serializers.CharField(required=False, help_text="Such as 99.")
    in_stock = serializers.ChoiceField(["0", "1"], required=False)
    sort = serializers.ChoiceField([each for each in search.ORDERS if each], required=False)


class Changing(
    CreateModelMixin,
    ListModelMixin,
    RetrieveModelMixin,
    UpdateModelMixin,
    DestroyModelMixin,
    Api,
):
    role = Role.OWNER
    roles = {"list": None, "retrieve": None}
    lookup_value_converter = "id"
    problems = {
        "create": [409],
        "update": [409],
        "partial_update": [409],
        "destroy": [409],
        "adjust_stock": [409],
    }

    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        checked(serializer)
        serializer.save()
        return Response(serializer.data, status=201)

    def update(self, request: Request, pk: int, *, partial: bool = False) -> Response:
        serializer = self.get_serializer(self.get_object(), request.data, partial=partial)
        checked(serializer)
        serializer.save()
        return Response(serializer.data)


class CategoryViewSet(Changing):
    queryset = Category.objects.order_by("name")
    serializer_class = CategorySerializer


@extend_schema_view(list=extend_schema(parameters=[ProductQuery]))
class ProductViewSet(Changing):
    queryset = Product.objects.select_related("category").order_by("name", "pk")
    serializer_class = ProductSerializer
    problems = {**Changing.problems, "list": [404]}

    def list(self, request: Request) -> Response:
        """What is for sale, as the shop finds it."""
        return self.page_of(async_to_sync(search.find)(search.read(self.asked(ProductQuery))))

    @extend_schema(request=StockChangeSerializer, responses=ProductSerializer)
    @action(detail=True, methods=["post"], url_path="adjust-stock")
    def adjust_stock(self, request: Request, pk: int) -> Response:
        """Goods that came in, or were found broken."""
        product = self.get_object()
        services.adjust_stock(product.pk, self.sent(StockChangeSerializer)["change"])
        product.refresh_from_db(fields=["stock"])
        return Response(ProductSerializer(product).data)
