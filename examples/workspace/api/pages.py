"""Pages of lists, in Django REST framework's own shape."""

from rest_framework.pagination import PageNumberPagination

from workspace.api.pages import MAX_PER_PAGE


class Pages(PageNumberPagination):
    page_size = 25
    page_size_query_param = "per_page"
    max_page_size = MAX_PER_PAGE
    invalid_page_message = "There is no page “{page_number}”. They are numbered from 1 on."
