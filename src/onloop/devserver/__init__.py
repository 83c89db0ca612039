"""The parts of `manage.py runserver`. No production server imports them."""
