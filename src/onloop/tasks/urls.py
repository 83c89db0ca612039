"""The addresses of jobs: `path("jobs/", include("onloop.tasks.urls"))`."""

from __future__ import annotations

from django.urls import path

from onloop.tasks import views

app_name = "onloop_tasks"
urlpatterns = [
    path("<str:job_id>/", views.job, name="job"),
    path("<str:job_id>/events/", views.events, name="events"),
    path("<str:job_id>/cancel/", views.cancel, name="cancel"),
]
