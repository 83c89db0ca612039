"""Projects whose developers test them: with Django's test classes, and with pytest."""
