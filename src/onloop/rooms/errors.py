"""What can go wrong with rooms."""

from __future__ import annotations

from onloop.errors import OnloopError


class AnnounceFailed(OnloopError):
    """The channel layer did not take an event that is not saved, so nobody will get it."""


class Refused(OnloopError):
    """A client asked for what it may not have; its text is told to the client."""
