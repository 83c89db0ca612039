from django.urls import path

from rooms import views

urlpatterns = [
    path("", views.index, name="rooms"),
    path("<slug:slug>/", views.room, name="room"),
]
