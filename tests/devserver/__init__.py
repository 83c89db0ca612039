"""Tests of `manage.py runserver`."""
