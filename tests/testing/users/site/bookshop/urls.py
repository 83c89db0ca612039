from django.urls import path
from shop import views

urlpatterns = [
    path("authors/", views.authors),
    path("authors-sync/", views.authors_sync),
    path("add/", views.add),
    path("add-sync/", views.add_sync),
    path("books/", views.books),
    path("visits/", views.visits),
    path("visits-sync/", views.visits_sync),
]
