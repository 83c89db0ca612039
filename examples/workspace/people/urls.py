from django.urls import path

from people import views

urlpatterns = [
    path("", views.PeopleView.as_view(), name="people"),
    path("<int:pk>/", views.PersonView.as_view(), name="person"),
    path("teams/", views.teams, name="teams"),
    path("teams/<int:pk>/", views.team, name="team"),
    path("export.csv", views.export, name="people-export"),
]
