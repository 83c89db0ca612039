"""Pictures of images, one small and one for a screen, if Pillow is installed; else none.

The file comes from whoever has uploaded it. Only plain formats are looked at, no more pixels
than a camera makes, and what is shown is a picture that was written here.
"""

import io
import logging
from typing import Any

from django.core.files.storage import default_storage

try:
    from PIL import Image, ImageOps
except ImportError:
    Image = None

logger = logging.getLogger(__name__)

FORMATS = {"image/gif": "GIF", "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
SIZE = (192, 192)
PREVIEW_SIZE = (1280, 1280)
MAX_PIXELS = 50_000_000


def can_have_one(media_type: str) -> bool:
    return Image is not None and media_type in FORMATS


def make(name: str) -> tuple[bytes, bytes] | None:
    """The thumbnail, a PNG, and the preview, a WebP, of an image in the storage.

    None if it is no image. For a thread: it computes.
    """
    try:
        with default_storage.open(name) as file:
            return _make(file)
    except FileNotFoundError:
        return None  # deleted meanwhile
    except Exception as error:  # noqa: BLE001 - Pillow raises whatever broken data lead to
        logger.info("%s has no thumbnail: %s", name, error)
        return None


def _make(file: io.IOBase) -> tuple[bytes, bytes]:
    with Image.open(file, formats=list(FORMATS.values())) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} by {height} pixels are too many.")
        image.draft("RGB", PREVIEW_SIZE)  # a JPEG need not be read in full
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail(PREVIEW_SIZE)
        preview = upright.convert("RGBA")
    preview.info = {}  # where and when a photo was taken is not passed on
    small = preview.copy()
    small.thumbnail(SIZE)
    return _written(small, "PNG"), _written(preview, "WEBP", quality=82)


def _written(image: Any, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
