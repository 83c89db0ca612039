"""What goes wrong in rooms, without HTTP. A text is for whoever caused it."""

from django.core.exceptions import PermissionDenied


class NotAMember(Exception):
    """Also of a room that there is none: nobody learns which."""


class BadMessage(ValueError):
    pass


class BadRequest(Exception):
    """Something that was asked for cannot be: nobody has that name, say."""


class Gone(Exception):
    """A file that was shown in a room has been deleted."""


class NotAllowed(PermissionDenied):
    """By role, or by what has become of the room."""
