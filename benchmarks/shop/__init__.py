"""The one Django project that all Django contenders share."""
