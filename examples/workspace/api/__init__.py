"""The API for developers, under ``/api/``: Django REST framework, run on the loop.

Its view sets are thin and synchronous. They call the same services as the pages do, whose
coroutines they wait for by ``onloop.async_to_sync``: on the loop that is no thread, but the
bridge that the request runs in. ``/api/docs/`` shows all of it, made from ``/api/schema/``.
"""
