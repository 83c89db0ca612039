"""Django REST framework, bent to the rules of the rest of the API.

Three files, since DRF imports what its settings name while its own modules are half loaded.
"""
