"""The ASGI application: in process, played by hand, and behind real servers."""
