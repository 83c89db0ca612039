"""Addresses of the library."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from . import api, views

router = SimpleRouter()
router.register("books", api.BookViewSet)

urlpatterns = [
    path("ping/", views.ping),
    path("where/", views.where),
    path("books/", views.books),
    path("books-sync/", views.books_sync),
    path("api/", include(router.urls)),
]
