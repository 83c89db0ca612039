"""WebSockets: Channels on Onloop, Channels as it is, and a bare ASGI application."""
