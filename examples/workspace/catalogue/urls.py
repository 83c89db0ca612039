from django.urls import path

from catalogue import views

urlpatterns = [
    path("", views.shop, name="shop"),
    path("item/<slug:sku>/", views.item, name="item"),
    path("products/", views.products, name="products"),
    path("products/<int:pk>/", views.product, name="product"),
    path("orders/", views.orders, name="orders"),
    path("orders/<uuid:reference>/", views.order, name="order"),
    path("orders/<uuid:reference>/cancel/", views.cancel, name="cancel-order"),
    path("summary/", views.summary, name="summary"),
]
