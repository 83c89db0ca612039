"""Every page of the example, and who sees it: for screenshots and for the check by axe."""

from __future__ import annotations

import re

from playwright.async_api import Page

# Names of pages and where they are. Where an address holds a number or a key, it is that of the
# first link on another page: that page's address, and a pattern.
Place = str | tuple[str, str]

VISITOR: dict[str, Place] = {
    "start": "/",
    "catalogue": "/catalogue/",
    "catalogue-nothing-found": "/catalogue/?q=submarine",
    "item": ("/catalogue/", "/catalogue/item/[^/]+/"),
    "log-in": "/accounts/login/",
    "sign-up": "/accounts/sign-up/",
    "panels": "/panels/",
    "directory": "/directory/",
    "not-found": "/nowhere/",
}
GUEST: dict[str, Place] = {
    "guest-orders": "/orders/",
    "guest-basket": "/basket/",
    "guest-jobs": "/jobs/",
    "guest-files": "/files/",
    "guest-forbidden": "/accounts/members/",
    "guest-rooms": "/rooms/",
}
MEMBER: dict[str, Place] = {
    "member-files": "/files/",
    "member-jobs": "/jobs/",
    "member-notices": "/notices/",
}
OWNER: dict[str, Place] = {
    "start-logged-in": "/",
    "catalogue-owner": "/catalogue/",
    "item-owner": ("/catalogue/", "/catalogue/item/[^/]+/"),
    "basket": "/basket/",
    "orders": "/orders/",
    "order": ("/orders/", "/orders/[0-9a-f-]{36}/"),
    "orders-all": "/orders/all/",
    "rooms": "/rooms/",
    "room": "/rooms/general/",
    "room-new": "/rooms/new/",
    "room-members": "/rooms/general/members/",
    "files": "/files/",
    "file": ("/files/", "/files/[^/]+/about/"),
    "files-all": "/files/all/",
    "jobs": "/jobs/",
    "profile": "/accounts/profile/",
    "tokens": "/accounts/tokens/",
    "members": "/accounts/members/",
    "notices": "/notices/",
    "operations": "/operations/",
}
EVERYBODY: dict[str | None, dict[str, Place]] = {
    None: VISITOR,
    "guest": GUEST,
    "robin": MEMBER,
    "demo": OWNER,
}


async def address(page: Page, place: Place) -> str:
    """The path of a place; its number or key is looked up on the page that links to it."""
    if isinstance(place, str):
        return place
    listing, pattern = place
    await page.goto(listing)
    links = await page.locator("main a[href]").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    return next(link for link in links if re.fullmatch(pattern, link))
