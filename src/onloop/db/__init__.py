"""Connections, transactions and pools for Django's ORM on the event loop."""
