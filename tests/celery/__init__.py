"""Celery on Onloop: a real Redis, and real workers in processes of their own."""
