from django.contrib import admin

from accounts.forms import AdminLogInForm
from accounts.models import Profile

admin.site.login_form = AdminLogInForm


@admin.register(Profile)
class ProfileAdmin(admin.ModelAdmin):
    list_display = ["user", "role"]
    list_filter = ["role"]
    search_fields = ["user__username"]
    autocomplete_fields = ["user"]
