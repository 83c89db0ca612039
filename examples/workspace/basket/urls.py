from django.urls import path

from basket import views

urlpatterns = [
    path("", views.index, name="basket"),
    path("add/", views.add, name="basket-add"),
    path("change/", views.change, name="basket-change"),
    path("check-out/", views.check_out, name="check-out"),
]
