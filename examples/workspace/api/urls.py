from django.urls import include, path, re_path, register_converter
from rest_framework.routers import SimpleRouter

from api import accounts, catalogue, files, jobs, me, people, rooms, shop, views
from api.paths import IdConverter

register_converter(IdConverter, "id")

router = SimpleRouter(use_regex_path=False)
router.register("categories", catalogue.CategoryViewSet, "api-category")
router.register("products", catalogue.ProductViewSet, "api-product")
router.register("orders", shop.OrderViewSet, "api-order")
router.register("people", people.PersonViewSet, "api-person")
router.register("teams", people.TeamViewSet, "api-team")
router.register("rooms", rooms.RoomViewSet, "api-room")
router.register("files", files.FileViewSet, "api-file")
router.register("jobs", jobs.JobViewSet, "api-job")
router.register("accounts", accounts.AccountViewSet, "api-account")
router.register("notices", me.NoticeViewSet, "api-notice")
router.register("tokens", me.TokenViewSet, "api-token")

Basket = shop.BasketViewSet

urlpatterns = [
    path("", views.index, name="api-root"),
    path("docs/", views.Docs.as_view(), name="api-docs"),
    path("schema/", views.Document.as_view(), name="api-schema"),
    path("me/", me.MeViewSet.as_view({"get": "retrieve", "patch": "partial_update"})),
    path("basket/", Basket.as_view({"get": "retrieve"})),
    path("basket/lines/", Basket.as_view({"post": "add"})),
    path("basket/lines/<id:product>/", Basket.as_view({"put": "change"})),
    path("basket/check-out/", Basket.as_view({"post": "check_out"})),
    path("", include(router.urls)),
    re_path("", views.unknown),
]
