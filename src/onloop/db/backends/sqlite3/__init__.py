"""SQLite: Django's backend for many tasks on one loop."""
