"""Django's database backends, with drivers that wait on the event loop."""
