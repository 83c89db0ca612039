"""Small pictures of images, if Pillow is installed; of anything else there is none.

The file comes from whoever has uploaded it. Only plain formats are looked at, no more pixels
than a camera makes, and what is shown is a picture that was written here.
"""

import io
import logging

from django.core.files.storage import default_storage

try:
    from PIL import Image, ImageOps
except ImportError:
    Image = None

logger = logging.getLogger(__name__)

FORMATS = {"image/gif": "GIF", "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
SIZE = (192, 192)
MAX_PIXELS = 50_000_000


def can_have_one(media_type: str) -> bool:
    return Image is not None and media_type in FORMATS


def make(name: str) -> bytes | None:
    """A PNG of an image in the storage, or None if it is none. For a thread: it computes."""
    try:
        with default_storage.open(name) as file:
            return _make(file)
    except FileNotFoundError:
        return None  # deleted meanwhile
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever broken data lead to
        logger.info("%s has no thumbnail: %s", name, error)
        return None


def _make(file: io.IOBase) -> bytes:
    with Image.open(file, formats=list(FORMATS.values())) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} by {height} pixels are too many.")
        image.draft("RGB", (2 * SIZE[0], 2 * SIZE[1]))  # a JPEG need not be read in full
        small = ImageOps.exif_transpose(image)
        small.thumbnail(SIZE)
        small = small.convert("RGBA")
    small.info = {}  # where and when a photo was taken is not passed on
    png = io.BytesIO()
    small.save(png, "PNG")
    return png.getvalue()
