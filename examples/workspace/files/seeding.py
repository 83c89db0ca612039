"""Files for ``manage.py seed``: something to look at, and a table to import."""

import hashlib
import io
import uuid
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from files import thumbnails
from files.models import StoredFile
from files.naming import media_type

try:
    from PIL import Image, ImageDraw, ImageFilter
except ImportError:
    Image = None

WELCOME = """Files of yours. Others see one when you show it in a room, or send them a link.

Upload some more, or import products.csv on the page of jobs: two of its rows are not valid.
"""
PRODUCTS = """sku,name,category,price,stock,description
NEW-001,"Desk lamp Comet, chalk",lamps,49.50,20,"Matt white, easy to wipe clean."
NEW-002,"Floor lamp Comet, ink",lamps,119.00,8,In the blue that is nearly black.
NEW-003,"Pendant Comet, clay",lamps,89.00,0,
NEW-003,"Pendant Comet, clay",lamps,89.00,0,The row above once more.
NEW-004,"Reading chair Comet, moss",armchairs,310.00,2,There is no such category.
NEW-005,"Teapot Comet, slate",tea,34.95,15,"In a dark grey, 1.2 litres."
"""
STOCKTAKING = """when,where,who
28th 08:00,Glassware,ida
28th 08:00,Lamps and shades,mara
28th 10:00,Chairs and stools,emre
28th 10:00,Bookshelves,
28th 13:00,Textiles,
28th 15:00,Cake,everybody
"""
# Walls, shade and foot of a lamp.
MOSS = ("#e9e4d8", "#5d7052", "#b98b4e")
SPRING = ("#dfeaf0", "#e2a25b", "#8c5a3c")
ALL = {"welcome.txt": WELCOME, "products.csv": PRODUCTS}
OF = {
    "demo": ALL,
    "robin": ALL,
    "ida": {"moss-lamp.png": MOSS, "spring-window.png": SPRING},
    "kofi": {"stocktaking.csv": STOCKTAKING},
}


def give(owner: Any) -> None:
    for name, given in OF[owner.get_username()].items():
        if isinstance(given, str):
            keep(owner, name, given.encode())
        elif Image is not None:
            keep(owner, name, lamp(*given))


def keep(owner: Any, name: str, content: bytes) -> None:
    """As an upload does, and the job that looks into it afterwards."""
    file = StoredFile(
        owner=owner,
        name=name,
        content=save(owner, content),
        size=len(content),
        media_type=media_type(name),
        sha256=hashlib.sha256(content).hexdigest(),
        examined=timezone.now(),
    )
    if thumbnails.can_have_one(file.media_type) and (
        made := thumbnails.make(file.content.name)
    ):
        file.thumbnail, file.preview = (save(owner, picture) for picture in made)
    file.save()


def save(owner: Any, content: bytes) -> str:
    return default_storage.save(f"files/{owner.pk}/{uuid.uuid4().hex}", ContentFile(content))


def lamp(walls: str, shade: str, foot: str) -> bytes:
    """A picture of a lamp on a table, and of its light."""
    picture = Image.new("RGB", (1200, 900), walls)
    light = Image.new("RGBA", picture.size, "#fff6d800")
    draw = ImageDraw.Draw(light)
    draw.polygon([(470, 420), (730, 420), (980, 760), (220, 760)], fill="#fff6d8d0")
    draw.ellipse([380, 150, 820, 560], fill="#fff6d870")
    light = light.filter(ImageFilter.GaussianBlur(45))
    picture.paste(light, mask=light)
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 740, 1200, 900], fill="#c9a780")
    draw.rectangle([0, 740, 1200, 752], fill="#d8ba96")
    draw.ellipse([470, 716, 730, 776], fill=foot)
    draw.rounded_rectangle([588, 400, 612, 740], 10, fill=foot)
    draw.polygon([(520, 200), (680, 200), (770, 430), (430, 430)], fill=shade)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
