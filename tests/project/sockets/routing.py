"""Addresses of sockets."""

from django.urls import path

from . import consumers

websocket_urlpatterns = [
    path("sockets/desk/", consumers.Desk.as_asgi()),
    path("sockets/desk-sync/", consumers.SyncDesk.as_asgi()),
    path("rooms/<str:room>/", consumers.OpenRoom.as_asgi()),
]
