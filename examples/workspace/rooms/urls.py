from django.urls import path

from rooms import member_views, views

urlpatterns = [
    path("", views.index, name="rooms"),
    path("new/", member_views.new, name="room-new"),
    path("<slug:slug>/", views.room, name="room"),
    path("<slug:slug>/messages/<int:number>/", views.message, name="room-message"),
    path("<slug:slug>/files/<uuid:pk>/", views.attached, name="attached"),
    path("<slug:slug>/files/<uuid:pk>/about/", views.attached_about, name="attached-about"),
    *(
        path(f"<slug:slug>/files/<uuid:pk>/{kind}/", views.attached_picture, {"kind": kind})
        for kind in ("thumbnail", "preview")
    ),
    path("<slug:slug>/members/", member_views.members, name="room-members"),
    path("<slug:slug>/members/<int:pk>/remove/", member_views.remove, name="room-remove"),
    path("<slug:slug>/settings/", member_views.settings, name="room-settings"),
    path("<slug:slug>/archive/", member_views.archive, name="room-archive"),
    path("<slug:slug>/join/", member_views.join, name="room-join"),
    path("<slug:slug>/leave/", member_views.leave, name="room-leave"),
]
