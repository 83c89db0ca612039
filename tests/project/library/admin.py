"""All models in the admin."""

from django.contrib import admin

from .models import Author, Book, Novel, Review, Tag


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "published", "price"]
    list_select_related = ["author"]
    search_fields = ["title"]


admin.site.register([Author, Novel, Review, Tag])
