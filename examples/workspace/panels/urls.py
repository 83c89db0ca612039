from django.urls import path

from panels import views

urlpatterns = [
    path("", views.page, name="panels"),
    path("data/", views.data, name="panels-data"),
]
