"""The addresses of sockets: those of the pages that open them."""

from django.urls import path

from rooms.consumers import ChatConsumer, InboxConsumer

websocket_urlpatterns = [
    path("rooms/", InboxConsumer.as_asgi()),
    path("rooms/<slug:slug>/", ChatConsumer.as_asgi()),
]
