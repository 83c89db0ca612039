from django.urls import path

from notices import views

urlpatterns = [
    path("", views.index, name="notices"),
    path("read/", views.read, name="notices-read"),
    path("<int:pk>/", views.follow, name="notice"),
]
