from django.urls import path

from files import shared, views

urlpatterns = [
    path("", views.index, name="files"),
    path("raw/", views.receive, name="file-receive"),
    path("all/", views.everybody, name="files-all"),
    path("shared/<uuid:pk>/", shared.page, name="shared"),
    path("shared/<uuid:pk>/download/", shared.download, name="shared-download"),
    path("shared/<uuid:pk>/preview/", shared.preview, name="shared-preview"),
    path("<uuid:pk>/", views.download, name="file"),
    path("<uuid:pk>/about/", views.about, name="file-about"),
    path("<uuid:pk>/thumbnail/", views.picture, {"kind": "thumbnail"}, name="file-thumbnail"),
    path("<uuid:pk>/preview/", views.picture, {"kind": "preview"}, name="file-preview"),
    path("<uuid:pk>/share/", views.share, name="file-share"),
    path("<uuid:pk>/links/<uuid:link>/revoke/", views.revoke, name="file-revoke"),
    path("<uuid:pk>/delete/", views.delete, name="file-delete"),
]
