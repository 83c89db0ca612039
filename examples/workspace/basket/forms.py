"""What the basket's page sends."""

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms

from catalogue.forms import MAX_QUANTITY
from workspace.api.fields import MAX_ID

PREFIX = "quantity-"


class CheckOutForm(forms.Form):
    name = forms.CharField(
        max_length=120, widget=forms.TextInput({"autocomplete": "name"}), label="Name"
    )
    email = forms.EmailField(
        widget=forms.EmailInput({"autocomplete": "email"}), label="E-mail address"
    )
    key = forms.UUIDField(widget=forms.HiddenInput)
    seen = forms.CharField(max_length=64, widget=forms.HiddenInput)

    @classmethod
    def fresh(cls, user: Any, mark: str, sent: Mapping[str, str]) -> "CheckOutForm":
        """For a page that is shown now: what was typed before, or what is known of the user.

        Its key is new: beside the basket as it is now, another attempt is another order.
        """
        hidden = {"key": str(uuid.uuid4()), "seen": mark}
        if "name" in sent:
            typed = {"name": sent["name"], "email": sent.get("email", "")}
            return cls(typed | hidden, label_suffix="")
        name = user.get_full_name() or user.get_username()
        return cls(initial={"name": name, "email": user.email, **hidden}, label_suffix="")


class AddForm(forms.Form):
    sku = forms.SlugField(max_length=20)
    quantity = forms.IntegerField(min_value=1, max_value=MAX_QUANTITY)


def read_quantities(post: Mapping[str, str]) -> tuple[dict[int, int], dict[int, str]]:
    """Quantities by product id, and, where what was typed is none, that."""
    quantities, wrong = {}, {}
    for name, typed in post.items():
        digits = name.removeprefix(PREFIX)
        if name == digits or (product := whole(digits, MAX_ID)) is None:
            continue
        quantity = whole(typed.strip(), MAX_QUANTITY)
        if quantity is None:
            wrong[product] = typed
        else:
            quantities[product] = quantity
    return quantities, wrong


def whole(text: str, most: int) -> int | None:
    """A number from 0 to ``most``, or None."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    return number if (number := int(text)) <= most else None
