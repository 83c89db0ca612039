"""Addresses of the front desk."""

from django.urls import path

from . import account, bodies, jobs, views

urlpatterns = [
    path("echo/", views.echo),
    path("numbers/<int:count>/", views.numbers),
    path("numbers-sync/<int:count>/", views.numbers_sync),
    path("until-you-leave/", views.until_you_leave),
    path("as-found/<str:language>/", views.as_found),
    path("as-found-sync/<str:language>/", views.as_found_sync),
    path("sleeps-in-the-database/", views.sleeps_in_the_database),
    path("process/", views.process),
    path("shelf/", views.shelf),
    path("raises/", views.raises),
    path("digest/", bodies.digest),
    path("upload/", bodies.upload),
    path("upload-in-thread/", bodies.upload_in_thread),
    path("upload-on-loop/", bodies.upload_on_loop),
    path("limited/", bodies.limited),
    path("impatient/", bodies.impatient),
    path("upload-until-you-leave/", bodies.until_you_leave),
    path("source/", views.source),
    path("token/", account.token),
    path("sign-in/", account.sign_in),
    path("sign-out/", account.sign_out),
    path("me/", account.me),
    path("me-sync/", account.me_sync),
    path("members-only/", account.members_only),
    path("visits/", account.visits),
    path("new-key/", account.new_key),
    path("leave-a-note/", account.leave_a_note),
    path("read-notes/", account.read_notes),
    path("enqueue/<str:name>/", jobs.enqueue),
    path("enqueue-sync/<str:name>/", jobs.enqueue_sync),
]
