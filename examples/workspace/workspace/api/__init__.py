"""What the JSON API has in common: bodies, fields, pages and errors of one shape."""

from workspace.api.errors import ApiError
from workspace.api.fields import Field, clean
from workspace.api.pages import Page, paginate
from workspace.api.views import ApiView, api_view, read_json

__all__ = ["ApiError", "ApiView", "Field", "Page", "api_view", "clean", "paginate", "read_json"]
