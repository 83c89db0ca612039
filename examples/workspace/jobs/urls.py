from django.urls import path

from jobs import views

urlpatterns = [
    path("", views.index, name="jobs"),
    path("<int:pk>/", views.work, name="work"),
    path("<int:pk>/cancel/", views.cancel, name="work-cancel"),
    path("<int:pk>/retry/", views.retry, name="work-retry"),
]
