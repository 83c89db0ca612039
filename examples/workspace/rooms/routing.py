"""The addresses of sockets: those of the pages that open them."""

from django.urls import path

from operations.consumers import OperationsConsumer
from rooms.consumers import ChatConsumer, InboxConsumer

websocket_urlpatterns = [
    path("operations/", OperationsConsumer.as_asgi()),
    path("rooms/", InboxConsumer.as_asgi()),
    path("rooms/<slug:slug>/", ChatConsumer.as_asgi()),
]
