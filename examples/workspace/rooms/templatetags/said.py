"""Text of messages in pages."""

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from rooms import mentions

register = template.Library()


@register.filter
def said(body: dict[str, Any], reader: Any) -> SafeString:
    """The text of a message, with whom it mentions marked; the reader's name stands out."""
    me = reader.get_username()
    pieces = mentions.parts(body["text"], body.get("mentions", ()))
    return format_html_join("", "{}", ((_piece(text, name, me),) for text, name in pieces))


def _piece(text: str, name: str | None, me: str) -> str:
    if name is None:
        return text
    kind = "mention me" if name == me else "mention"
    return format_html('<mark class="{}">{}</mark>', kind, text)
