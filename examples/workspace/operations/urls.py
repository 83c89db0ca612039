from django.urls import path

from operations import views

urlpatterns = [
    path("operations/", views.page, name="operations"),
    # Without a slash, as Prometheus asks by default.
    path("metrics", views.metrics, name="metrics"),
]
