"""One's basket, and orders."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

import basket.services
from accounts.models import Role
from accounts.roles import require
from api.base import Api
from basket.models import BasketLine
from catalogue import services
from catalogue.forms import MAX_LINES, MAX_QUANTITY
from catalogue.models import Order, OrderLine
from catalogue.queries import orders_with
from onloop import async_to_sync
from workspace.api.fields import MAX_ID


def quantity(least: int = 1) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=least, max_value=MAX_QUANTITY)


class CustomerSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=120)
    email = serializers.EmailField(max_length=254)


class CheckOutSerializer(CustomerSerializer):
    seen = serializers.CharField(max_length=64, help_text="The `mark` of the basket you saw.")
    key = serializers.UUIDField(help_text="Your own, new for each order: a repeat orders once.")


class NewLineSerializer(serializers.Serializer):
    product = serializers.IntegerField(min_value=1, max_value=MAX_ID)
    quantity = quantity()


class NewOrderSerializer(CustomerSerializer):
    lines = NewLineSerializer(many=True, allow_empty=False, max_length=MAX_LINES)
    key = serializers.UUIDField(
        required=False, help_text="Your own, new for each order: a repeat orders once."
    )

    def validate_lines(self, lines: list[dict[str, int]]) -> dict[int, int]:
        wanted: dict[int, int] = {}
        for line in lines:
            wanted[line["product"]] = wanted.get(line["product"], 0) + line["quantity"]
        if max(wanted.values()) > MAX_QUANTITY:
            raise serializers.ValidationError(f"More than {MAX_QUANTITY} of one product.")
        return wanted


class OrderLineSerializer(serializers.ModelSerializer):
    sku = serializers.CharField(source="product.sku")
    name = serializers.CharField(source="product.name")

    class Meta:
        model = OrderLine
        fields = ["product", "sku", "name", "quantity", "unit_price"]


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


class OrderQuery(serializers.Serializer):
    whose = serializers.ChoiceField(
        ["mine", "all"], default="mine", help_text="`all` is everybody's, for owners."
    )
    q = serializers.CharField(
        required=False,
        max_length=100,
        help_text="Part of the customer's name or e-mail address, or of a product's name.",
    )
    status = serializers.ChoiceField(Order.Status.choices, required=False)


class OrderViewSet(Api):
    queryset = Order.objects.none()
    serializer_class = OrderSerializer
    lookup_field = "reference"
    lookup_value_converter = "uuid"
    problems = {"list": [403], "create": [404, 409], "cancel": [409]}

    @extend_schema(parameters=[OrderQuery])
    def list(self, request: Request) -> Response:
        """Orders, the newest first."""
        asked = self.asked(OrderQuery)
        if asked["whose"] == "all":
            require(request.user, Role.OWNER)
            orders = services.visible_to(request.user)
        else:
            orders = services.of_user(request.user)
        found = _whole(orders_with(orders, asked.get("q", "")))
        return self.page_of(found.filter(**_only(asked, "status")))

    def retrieve(self, request: Request, reference: uuid.UUID) -> Response:
        return Response(self._shown(reference))

    @extend_schema(request=NewOrderSerializer, responses={201: OrderSerializer})
    def create(self, request: Request) -> Response:
        """Order, all or nothing, without a basket."""
        values = self.sent(NewOrderSerializer)
        order = async_to_sync(services.place_order)(
            values["name"],
            values["email"],
            values["lines"],
            buyer=request.user,
            key=values.get("key"),
        )
        return Response(self._shown(order.reference), status=201)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, reference: uuid.UUID) -> Response:
        """Its goods return to the stock."""
        among = services.visible_to(request.user)
        async_to_sync(services.cancel_order)(reference, among, by=request.user)
        return Response(self._shown(reference))

    def _shown(self, reference: uuid.UUID) -> dict[str, Any]:
        orders = _whole(services.visible_to(self.request.user))
        order = orders.filter(reference=reference).first()
        if order is None:
            raise Http404("You have no such order.")
        return OrderSerializer(order).data


class BasketLineSerializer(serializers.ModelSerializer):
    sku = serializers.CharField(source="product.sku")
    name = serializers.CharField(source="product.name")
    price = serializers.DecimalField(10, 2, source="product.price")
    in_stock = serializers.IntegerField(source="product.stock")

    class Meta:
        model = BasketLine
        fields = ["product", "sku", "name", "quantity", "price", "in_stock"]


class BasketSerializer(serializers.Serializer):
    lines = BasketLineSerializer(many=True)
    items = serializers.IntegerField()
    total = serializers.DecimalField(18, 2)
    mark = serializers.CharField(help_text="Of what is in it, and what it costs.")


class AddSerializer(serializers.Serializer):
    sku = serializers.SlugField(max_length=20)
    quantity = quantity()


class QuantitySerializer(serializers.Serializer):
    quantity = quantity(0)


class BasketViewSet(Api):
    queryset = BasketLine.objects.none()
    serializer_class = BasketSerializer
    pagination_class = None
    problems = {"add": [404, 409], "check_out": [409]}

    def retrieve(self, request: Request) -> Response:
        """What is in your basket. Nothing is kept back for it."""
        return self._basket()

    @extend_schema(request=AddSerializer)
    def add(self, request: Request) -> Response:
        """Put something into the basket, or more of it."""
        values = self.sent(AddSerializer)
        async_to_sync(basket.services.add)(request.user, values["sku"], values["quantity"])
        return self._basket()

    @extend_schema(request=QuantitySerializer)
    def change(self, request: Request, product: int) -> Response:
        """So many of a product; 0 takes it out. What is not in the basket stays so."""
        wanted = {product: self.sent(QuantitySerializer)["quantity"]}
        async_to_sync(basket.services.set_quantities)(request.user, wanted)
        return self._basket()

    @extend_schema(request=CheckOutSerializer, responses={201: OrderSerializer})
    def check_out(self, request: Request) -> Response:
        """Order what is in the basket as you have seen it, and empty it."""
        values = self.sent(CheckOutSerializer)
        order = async_to_sync(basket.services.check_out)(request.user, **values)
        return Response(OrderSerializer(_whole(Order.objects).get(pk=order.pk)).data, 201)

    def _basket(self) -> Response:
        found = async_to_sync(basket.services.basket_of)(self.request.user)
        return Response(BasketSerializer(found).data)


def _whole(orders: QuerySet[Order]) -> QuerySet[Order]:
    return orders.prefetch_related("lines__product").order_by("-created_at", "-pk")


def _only(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: values[name]} if name in values else {}
