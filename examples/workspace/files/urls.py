from django.urls import path

from files import views

urlpatterns = [
    path("", views.index, name="files"),
    path("raw/", views.receive, name="file-receive"),
    path("<uuid:pk>/", views.download, name="file"),
    path("<uuid:pk>/thumbnail/", views.thumbnail, name="file-thumbnail"),
    path("<uuid:pk>/delete/", views.delete, name="file-delete"),
]
