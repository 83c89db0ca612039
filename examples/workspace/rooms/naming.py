"""Names: of a room's messages in ``onloop.rooms``, of a room in addresses."""

from django.utils.text import slugify

MAX_SLUG = 60
# Parts of addresses, of pages and of the API.
TAKEN = {"new", "open", "others"}


def log_of(slug: str) -> str:
    """The name that a room's messages have in ``onloop.rooms``."""
    return f"chat-{slug}"


def slugs_for(name: str) -> list[str]:
    """What a room of this name may be called in its address, the best first."""
    stem = slugify(name)[: MAX_SLUG - 4].strip("-_") or "room"
    slugs = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return [slug for slug in slugs if slug not in TAKEN]
