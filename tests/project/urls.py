"""Addresses of the test project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("tests.project.library.urls")),
    path("desk/", include("tests.project.desk.urls")),
    path("health/", include("onloop.health")),
    path("jobs/", include("onloop.tasks.urls")),
    path("sockets/", include("tests.project.sockets.views")),
]
