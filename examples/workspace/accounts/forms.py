"""What people may write about themselves, and who gets which role."""

import datetime
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import (
    AuthenticationForm,
    PasswordChangeForm,
    UserCreationForm,
)
from django.http import HttpRequest

from accounts.models import Profile, Role
from accounts.tries import counted

MAX_NAME = 150
EXPIRIES = [("1", "In a day"), ("7", "In a week"), ("30", "In 30 days"), ("365", "In a year")]


class SignUpForm(UserCreationForm):
    """Django's own checks: of the name, and of the password by the project's validators."""

    first_name = forms.CharField(max_length=MAX_NAME, required=False)
    last_name = forms.CharField(max_length=MAX_NAME, required=False)

    class Meta(UserCreationForm.Meta):
        model = get_user_model()
        fields = ["username", "first_name", "last_name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        completions = {
            "username": "username",
            "first_name": "given-name",
            "last_name": "family-name",
        }
        for name, completion in completions.items():
            self.fields[name].widget.attrs["autocomplete"] = completion


class LogInForm(AuthenticationForm):
    """Raises ``TooManyTries``."""

    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username")
        if not (username and self.cleaned_data.get("password")):
            return super().clean()
        with counted(self.request, username):
            return super().clean()


class AdminLogInForm(LogInForm, AdminAuthenticationForm):
    pass


class PasswordForm(PasswordChangeForm):
    """The old password is one that can be tried, too. Raises ``TooManyTries``."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request.user, *args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        with counted(self.request, self.user.get_username()):
            return super().clean_old_password()


class ProfileForm(forms.Form):
    first_name = forms.CharField(
        max_length=MAX_NAME,
        required=False,
        widget=forms.TextInput({"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        max_length=MAX_NAME,
        required=False,
        widget=forms.TextInput({"autocomplete": "family-name"}),
    )
    about = forms.CharField(
        max_length=Profile._meta.get_field("about").max_length,
        required=False,
        help_text="A sentence that tells others what to come to you with.",
    )


class TokenForm(forms.Form):
    name = forms.CharField(
        max_length=100,
        label="What it is for",
        widget=forms.TextInput({"autocomplete": "off", "placeholder": "Nightly export"}),
    )
    expires = forms.ChoiceField(
        label="Expires", choices=[*EXPIRIES, ("", "Never")], initial="30", required=False
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise forms.ValidationError("Write it in one line of printable characters.")
        return name

    def clean_expires(self) -> datetime.timedelta | None:
        days = self.cleaned_data["expires"]
        return datetime.timedelta(days=int(days)) if days else None


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)
