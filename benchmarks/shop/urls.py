"""The same addresses for every contender; its own views behind them."""

from importlib import import_module

from django.conf import settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

views = import_module(settings.VIEWS)

urlpatterns = [
    path("json", views.hello),
    path("row/<int:pk>", views.row),
    path("join/<int:pk>", views.join),
    path("ten/<int:pk>", views.ten),
    path("update/<int:pk>", csrf_exempt(views.update)),
    *(
        path(address, getattr(views, name))
        for address, name in (("user", "user"), ("slow/<int:pk>", "slow"))
        if hasattr(views, name)
    ),
]
