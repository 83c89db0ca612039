"""Onloop's own exceptions that need neither Django nor a driver.

Errors of the database layer live in `onloop.db.errors`, because they are subclasses of
Django's. This module must never import Django: `onloop.bridge` stands on it.
"""

from __future__ import annotations


class OnloopError(Exception):
    """Base class of the exceptions that Onloop defines."""


class BridgeRequired(OnloopError, RuntimeError):
    """Synchronous code asked to wait on the loop, but no bridge of its task is active.

    The idea of naming the mistake and the cure in one exception is SQLAlchemy's
    `MissingGreenlet`.
    """


class LoopRequired(OnloopError, RuntimeError):
    """`onloop.bridge.run` was driven by something that is not an asyncio task."""
