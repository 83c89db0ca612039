from django.contrib.auth.views import LogoutView
from django.urls import path

from accounts import members, tokens, views

urlpatterns = [
    path("sign-up/", views.sign_up, name="sign-up"),
    path("login/", views.LogIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("profile/", views.profile, name="profile"),
    path("profile/password/", views.password, name="password"),
    path("tokens/", tokens.index, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke, name="token-revoke"),
    path("members/", members.index, name="members"),
    path("members/<int:pk>/role/", members.change, name="member-role"),
    path("me/", views.me, name="me"),
]
