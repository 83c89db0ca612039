"""The Django project that the tests run: stock settings, one app, the engine under test."""
