"""The addresses of sockets: those of pages. That of the notices is open on each page."""

from django.urls import path

from operations.consumers import OperationsConsumer
from rooms.consumers import ChatConsumer, InboxConsumer

websocket_urlpatterns = [
    path("operations/", OperationsConsumer.as_asgi()),
    path("notices/", InboxConsumer.as_asgi()),
    path("rooms/", InboxConsumer.as_asgi()),  # the same, for who knows the rooms alone
    path("rooms/<slug:slug>/", ChatConsumer.as_asgi()),
]
