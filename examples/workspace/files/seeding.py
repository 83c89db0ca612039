"""Files for ``manage.py seed``: something to look at, and a table to import."""

import hashlib
import uuid
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from files.models import StoredFile
from files.naming import media_type

WELCOME = """Files of yours, which nobody else sees.

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
ALL = {"welcome.txt": WELCOME, "products.csv": PRODUCTS}


def give(owner: Any) -> None:
    for name, text in ALL.items():
        content = text.encode()
        StoredFile.objects.create(
            owner=owner,
            name=name,
            content=default_storage.save(
                f"files/{owner.pk}/{uuid.uuid4().hex}", ContentFile(content)
            ),
            size=len(content),
            media_type=media_type(name),
            sha256=hashlib.sha256(content).hexdigest(),
            examined=timezone.now(),
        )
