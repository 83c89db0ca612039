"""The catalogue through Django REST framework: ordinary sync view sets, run on the loop."""

from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.viewsets import ModelViewSet, ReadOnlyModelViewSet

from catalogue import services
from catalogue.models import MAX_STOCK, Category, Order, OrderLine, Product


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
    change = serializers.IntegerField(min_value=-MAX_STOCK, max_value=MAX_STOCK)


class OrderLineSerializer(serializers.ModelSerializer):
    sku = serializers.CharField(source="product.sku")

    class Meta:
        model = OrderLine
        fields = ["product", "sku", "quantity", "unit_price"]


class OrderSerializer(serializers.ModelSerializer):
    lines = OrderLineSerializer(many=True)

    class Meta:
        model = Order
        fields = [
            "reference",
            "status",
            "customer_name",
            "customer_email",
            "total",
            "created_at",
            "cancelled_at",
            "lines",
        ]


class CategoryViewSet(ModelViewSet):
    queryset = Category.objects.order_by("name")
    serializer_class = CategorySerializer
    search_fields = ["name"]


class ProductViewSet(ModelViewSet):
    queryset = Product.objects.select_related("category").order_by("name", "pk")
    serializer_class = ProductSerializer
    search_fields = ["name", "sku", "category__name"]
    ordering_fields = ["name", "price", "stock"]

    @action(
        detail=True,
        methods=["post"],
        url_path="adjust-stock",
        serializer_class=StockChangeSerializer,
    )
    def adjust_stock(self, request: Request, pk: str | None = None) -> Response:
        product = self.get_object()
        change = self.get_serializer(data=request.data)
        change.is_valid(raise_exception=True)
        try:
            services.adjust_stock(product.pk, change.validated_data["change"])
        except services.StockOutOfRange:
            raise serializers.ValidationError(
                {"change": f"The stock must stay between 0 and {MAX_STOCK}."}
            ) from None
        product.refresh_from_db(fields=["stock"])
        return Response(ProductSerializer(product).data)


class OrderViewSet(ReadOnlyModelViewSet):
    """Orders name customers, so reading them takes staff, too."""

    queryset = Order.objects.prefetch_related("lines__product").order_by("-created_at", "-pk")
    serializer_class = OrderSerializer
    permission_classes = [IsAdminUser]
    lookup_field = "reference"
    search_fields = ["customer_name", "customer_email"]
    ordering_fields = ["created_at", "total"]


router = DefaultRouter()
router.register("categories", CategoryViewSet)
router.register("products", ProductViewSet)
router.register("orders", OrderViewSet)
