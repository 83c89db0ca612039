from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from people.models import Person, Team


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    list_display = ["name", "purpose", "size"]
    search_fields = ["name", "purpose"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return super().get_queryset(request).annotate(size=Count("people"))

    @admin.display(ordering="size")
    def size(self, team: Team) -> int:
        return team.size


@admin.register(Person)
class PersonAdmin(admin.ModelAdmin):
    list_display = ["name", "email", "team", "role", "joined", "active"]
    list_filter = ["active", "team"]
    list_select_related = ["team"]
    search_fields = ["name", "email", "role"]
    date_hierarchy = "joined"
    autocomplete_fields = ["team"]
    readonly_fields = ["created_at", "updated_at"]
