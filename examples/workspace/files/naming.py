"""What a file is called, and what it is taken for. Both come from whoever uploads it."""

import unicodedata
from pathlib import PurePosixPath

from files.models import MAX_NAME

# They join letters of some scripts, or keep them apart, and emoji: they turn nothing.
JOINERS = "\u200c\u200d"
UNKNOWN = "application/octet-stream"
# By the ending of the name. Nothing that a browser would run: no HTML, no SVG, no XML.
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".zip": "application/zip",
}


class BadName(Exception):
    """Its text is for whoever chose the name."""


def clean_name(given: object) -> str:
    """The last part of a path, without what cannot be seen. Raises ``BadName``."""
    text = given if isinstance(given, str) else ""
    text = unicodedata.normalize("NFC", text.replace("\\", "/").rsplit("/", 1)[-1])
    # Control characters, half surrogates, and marks that turn the direction of reading, with
    # which “exe.txt” could be shown for “txt.exe”.
    hidden = (each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs"))
    if any(each not in JOINERS for each in hidden):
        raise BadName("The name holds a character that cannot be shown.")
    text = text.strip(" .")
    if not text:
        raise BadName("The file needs a name.")
    if len(text) > MAX_NAME:
        raise BadName(f"A name has at most {MAX_NAME} characters.")
    return text


def media_type(name: str) -> str:
    return MEDIA_TYPES.get(PurePosixPath(name).suffix.lower(), UNKNOWN)
