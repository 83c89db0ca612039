from django.urls import path

from catalogue import order_pages

urlpatterns = [
    path("", order_pages.mine, name="my-orders"),
    path("all/", order_pages.everybodys, name="all-orders"),
    path("<uuid:reference>/", order_pages.order, name="order-page"),
    path("<uuid:reference>/cancel/", order_pages.cancel, name="order-page-cancel"),
]
