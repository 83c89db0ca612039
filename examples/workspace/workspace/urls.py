"""All addresses of the service."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from people.directory import directory
from workspace import errors, views
from workspace.pages import icon

urlpatterns = [
    path("", views.start, name="start"),
    path("favicon.ico", icon),
    path("people/", include("people.urls")),
    path("catalogue/", include("catalogue.urls")),
    path("basket/", include("basket.urls")),
    path("orders/", include("catalogue.order_urls")),
    path("rooms/", include("rooms.urls")),
    path("panels/", include("panels.urls")),
    path("files/", include("files.urls")),
    path("jobs/states/", include("onloop.tasks.urls")),
    path("jobs/", include("jobs.urls")),
    path("", include("operations.urls")),
    path("accounts/", include("accounts.urls")),
    path("notices/", include("notices.urls")),
    path("directory/", directory, name="directory"),
    # Where tries of the old password are counted.
    path("admin/password_change/", RedirectView.as_view(pattern_name="profile")),
    path("admin/", admin.site.urls),
    path("health/", include("onloop.health")),
    path("api/", include("api.urls")),
    re_path(errors.API_PATHS, errors.unknown_address),
]

handler400 = errors.bad_request
handler404 = errors.not_found
handler500 = errors.server_error
