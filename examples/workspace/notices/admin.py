from django.contrib import admin

from notices.models import Notice


@admin.register(Notice)
class NoticeAdmin(admin.ModelAdmin):
    list_display = ["text", "user", "kind", "created", "read"]
    list_filter = ["kind"]
    search_fields = ["text"]
    autocomplete_fields = ["user"]
