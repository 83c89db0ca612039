"""The visitor's own account: signing up and in, the profile, the password; as JSON, too."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import alogin, aupdate_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.forms import MAX_NAME, LogInForm, PasswordForm, ProfileForm, SignUpForm
from accounts.models import Profile
from accounts.roles import by_session, role_of
from notices.sessions import mark_of
from workspace.api import ApiError, Field, api_view, clean, read_json
from workspace.api.fields import text
from workspace.pages import private_page

NAMES = {
    "first_name": Field(text(MAX_NAME, blank=True)),
    "last_name": Field(text(MAX_NAME, blank=True)),
}


class LogIn(LoginView):
    """Django's sync view; the page has this service's policy."""

    form_class = LogInForm
    redirect_authenticated_user = True

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return private_page(self.request, self.template_name, context)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password1", "password2")
async def sign_up(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("profile")
    if not settings.SIGN_UP:
        return private_page(request, "accounts/closed.html", {}, status=403)
    form = SignUpForm(request.POST or None)
    if form.is_valid():
        try:
            user = await services.sign_up(form.save(commit=False))
        except services.UsernameTaken as error:
            form.add_error("username", str(error))
        else:
            await alogin(request, user)
            messages.success(request, f"Welcome, {user.first_name or user.get_username()}.")
            return redirect("start")
    status = 400 if form.is_bound else 200
    return private_page(request, "accounts/sign_up.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
async def profile(request: HttpRequest) -> HttpResponse:
    """The template reads ``request.user`` and its groups, each with a lazy query."""
    if request.method != "POST":
        return await _profile(request)
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return await _profile(request, form=form, status=400)
    await services.change_profile(request.user, **form.cleaned_data)
    messages.success(request, "Your profile is saved.")
    return redirect("profile")


@require_http_methods(["GET", "HEAD", "POST"])
@by_session
@sensitive_post_parameters("old_password", "new_password1", "new_password2")
async def password(request: HttpRequest) -> HttpResponse:
    """The session goes on; those of other browsers end."""
    if request.method != "POST":  # the page of a refusal, loaded anew
        return redirect("profile")
    form = PasswordForm(request, request.POST)
    if not form.is_valid():
        return await _profile(request, password_form=form, status=400)
    user = form.save()
    kept = mark_of(request.session)
    await aupdate_session_auth_hash(request, user)
    services.end_other_sessions(user.pk, kept=kept, now=mark_of(request.session))
    messages.success(request, "Your password is changed. Other browsers are logged out.")
    return redirect("profile")


async def _profile(request: HttpRequest, status: int = 200, **forms: Any) -> HttpResponse:
    user = request.user
    own = await Profile.objects.filter(user=user).afirst() or Profile()
    known = {
        "first_name": user.first_name,
        "last_name": user.last_name,
        "about": own.about,
    }
    context = {
        "form": ProfileForm(initial=known),
        "password_form": PasswordForm(request),
        "role": role_of(user),
        **forms,
    }
    # The page is about the profile: the cursor does not begin in the password.
    context["password_form"].fields["old_password"].widget.attrs.pop("autofocus", None)
    return private_page(request, "accounts/profile.html", context, status=status)


@api_view("GET", "PATCH", uses_session=True)
async def me(request: HttpRequest) -> HttpResponse:
    """The same as JSON. It trusts the session cookie, so PATCH needs the CSRF token."""
    user = request.user
    if not user.is_authenticated:
        raise ApiError(401, "Log in first.", headers={"WWW-Authenticate": "Session"})
    if request.method == "PATCH":
        names = clean(read_json(request), NAMES, partial=True)
        for name, value in names.items():
            setattr(user, name, value)
        await user.asave(update_fields=list(names))
    return JsonResponse(
        {
            "username": user.get_username(),
            "first_name": user.first_name,
            "last_name": user.last_name,
            "role": role_of(user),
            "is_staff": user.is_staff,
            "groups": [group.name for group in user.groups.order_by("name")],
        }
    )
