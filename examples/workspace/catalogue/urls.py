from django.urls import path

from catalogue import pages, views

urlpatterns = [
    path("", pages.shop, name="shop"),
    path("item/<slug:sku>/", pages.item, name="item"),
    path("item/<slug:sku>/stock/", pages.stock, name="item-stock"),
    path("products/", views.products, name="products"),
    path("products/<int:pk>/", views.product, name="product"),
    path("orders/", views.orders, name="orders"),
    path("orders/<uuid:reference>/", views.order, name="order"),
    path("orders/<uuid:reference>/cancel/", views.cancel, name="cancel-order"),
    path("summary/", views.summary, name="summary"),
]
