"""``manage.py test``: who has which role, and what people do with their accounts."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.test import AsyncClient, TestCase, override_settings

from accounts import services
from accounts.models import Profile, Role
from accounts.roles import has_role, require, role_of
from notices.models import Notice
from notices.testing import TIMEOUT_S, Socket, joined
from onloop.rooms.consumers import RoomConsumer
from onloop.tokens.models import Token
from rooms.models import Membership, Room
from rooms.services import log_of

SENTENCE = "a sentence nobody guesses"
NEW = {"username": "newcomer", "password1": SENTENCE, "password2": SENTENCE}


class RoleTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        users = get_user_model().objects
        cls.plain = users.create_user("plain")
        cls.root = users.create_superuser("root")
        for role in Role:
            Profile.objects.create(user=users.create_user(role.value), role=role)
        cls.of = {role: users.get(username=role.value) for role in Role}

    def test_each_role_may_do_what_those_below_it_may(self) -> None:
        allowed = {
            role: [each for each in Role if has_role(self.of[role], each)] for role in Role
        }
        assert allowed == {
            Role.OWNER: [Role.OWNER, Role.MEMBER, Role.GUEST],
            Role.MEMBER: [Role.MEMBER, Role.GUEST],
            Role.GUEST: [Role.GUEST],
        }

    def test_accounts_without_a_profile_are_members_and_superusers_owners(self) -> None:
        assert role_of(self.plain) is Role.MEMBER
        assert role_of(self.root) is Role.OWNER

    def test_who_is_not_logged_in_or_not_active_has_no_role(self) -> None:
        owner = self.of[Role.OWNER]
        owner.is_active = False
        for user in (AnonymousUser(), owner):
            assert role_of(user) is None
            assert not has_role(user, Role.GUEST)

    async def test_a_refusal_says_what_it_takes(self) -> None:
        """In async code, where the profile is one more query on the loop."""
        guest = await get_user_model().objects.aget(username="guest")
        with self.assertRaisesMessage(PermissionDenied, "This takes the role “Member”."):
            require(guest, Role.MEMBER)


class SignUpTests(TestCase):
    async def sign_up(self, **changes: str) -> Any:
        return await self.async_client.post("/accounts/sign-up/", {**NEW, **changes})

    async def test_a_new_account_is_logged_in_welcome_and_in_the_open_room(self) -> None:
        await Room.objects.acreate(slug="general", name="General")
        answer = await self.sign_up(first_name="Nora")
        self.assertRedirects(answer, "/", fetch_redirect_response=False)
        me = (await self.async_client.get("/accounts/me/")).json()
        assert (me["username"], me["first_name"], me["role"]) == ("newcomer", "Nora", "member")
        assert await Membership.objects.filter(user__username="newcomer").acount() == 1
        assert (await Notice.objects.aget()).kind == Notice.Kind.ACCOUNT
        self.assertContains(await self.async_client.get("/"), "Welcome, Nora.")
        again = await self.async_client.get("/accounts/sign-up/")
        self.assertRedirects(again, "/accounts/profile/", fetch_redirect_response=False)

    async def test_new_accounts_begin_in_the_role_of_the_setting(self) -> None:
        with override_settings(SIGN_UP_ROLE="guest"):
            await self.sign_up()
        assert (await Profile.objects.aget()).role == Role.GUEST

    async def test_what_is_wrong_is_said_next_to_its_field(self) -> None:
        await get_user_model().objects.acreate_user("Taken")
        for name, wrong, text in (
            ("username", "taken", "A user with that username already exists."),
            ("username", "", "This field is required."),
            ("password2", "another one entirely", "The two password fields"),
        ):
            answer = await self.sign_up(**{name: wrong})
            self.assertContains(answer, f'id="id_{name}_error"', status_code=400)
            self.assertContains(answer, text, status_code=400)
        weak = await self.sign_up(password1="newcomer", password2="newcomer")
        self.assertContains(weak, "The password is too similar", status_code=400)
        assert await get_user_model().objects.acount() == 1

    async def test_whoever_was_quicker_has_the_name(self) -> None:
        """Since the form was checked."""
        users = get_user_model().objects
        await users.acreate_user("quick")
        with self.assertRaisesMessage(services.UsernameTaken, "already exists"):
            await services.sign_up(get_user_model()(username="quick"))
        assert await users.acount() == 1

    async def test_a_service_may_be_closed(self) -> None:
        with override_settings(SIGN_UP=False):
            for answer in (
                await self.sign_up(),
                await self.async_client.get("/accounts/sign-up/"),
            ):
                self.assertContains(answer, "Ask an owner", status_code=403)
            login = await self.async_client.get("/accounts/login/")
            self.assertNotContains(login, "/accounts/sign-up/")
            with self.assertRaisesMessage(services.SignUpClosed, "Ask an owner"):
                await services.sign_up(get_user_model()(username="x"))
        assert not await get_user_model().objects.aexists()

    async def test_a_form_that_has_expired_says_what_to_do(self) -> None:
        strict = AsyncClient(enforce_csrf_checks=True)
        answer = await strict.post("/accounts/sign-up/", NEW)
        self.assertContains(answer, "Go back, load the page anew", status_code=403)
        assert not await get_user_model().objects.aexists()


class OwnAccountTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create = get_user_model().objects.create_user
        cls.ada, cls.ben = create("ada", password=SENTENCE), create("ben")

    async def test_a_profile_is_changed_and_the_role_stays(self) -> None:
        await self.async_client.aforce_login(self.ada)
        names = {"first_name": "Ada", "last_name": "Elmham", "about": "Bridges."}
        answer = await self.async_client.post("/accounts/profile/", names)
        self.assertRedirects(answer, "/accounts/profile/", fetch_redirect_response=False)
        page = await self.async_client.get("/accounts/profile/")
        for text in ("Your profile is saved.", "Ada Elmham", "Bridges."):
            self.assertContains(page, text)
        assert (await Profile.objects.aget()).role == Role.MEMBER
        wrong = {**names, "about": "x" * 201, "first_name": "a\0b"}
        answer = await self.async_client.post("/accounts/profile/", wrong)
        for name in ("about", "first_name"):
            self.assertContains(answer, f'id="id_{name}_error"', status_code=400)
        assert (await Profile.objects.aget()).about == "Bridges."

    async def test_a_new_password_ends_other_sessions_and_not_this_one(self) -> None:
        other = self.async_client_class()
        await other.aforce_login(self.ada)
        await self.async_client.aforce_login(self.ada)
        passwords = {
            "old_password": "wrong",
            "new_password1": SENTENCE * 2,
            "new_password2": SENTENCE * 2,
        }
        answer = await self.async_client.post("/accounts/profile/password/", passwords)
        self.assertContains(answer, 'id="id_old_password_error"', status_code=400)
        passwords["old_password"] = SENTENCE
        answer = await self.async_client.post("/accounts/profile/password/", passwords)
        self.assertRedirects(answer, "/accounts/profile/", fetch_redirect_response=False)
        assert (await self.async_client.get("/accounts/me/")).status_code == 200
        anew = await self.async_client.get("/accounts/profile/password/")
        self.assertRedirects(anew, "/accounts/profile/", fetch_redirect_response=False)
        assert (await other.get("/accounts/me/")).status_code == 401
        assert await self.async_client.alogin(username="ada", password=SENTENCE * 2)

    async def test_a_token_is_shown_once_and_works_until_it_is_revoked(self) -> None:
        await self.async_client.aforce_login(self.ada)
        form = {"name": "Nightly <export>", "expires": "7"}
        page = (await self.async_client.post("/accounts/tokens/", form)).content.decode()
        token = await Token.objects.aget()
        text = page.partition('class="secret"><code>')[2].partition("<")[0]
        assert text.startswith(token.visible_id)
        assert token.expires is not None
        listed = await self.async_client.get("/accounts/tokens/")
        self.assertContains(listed, "Nightly &lt;export&gt;")
        self.assertContains(listed, "never used")
        self.assertNotContains(listed, text)

        bearer = {"authorization": f"Bearer {text}"}
        script = self.async_client_class()
        assert (await script.get("/accounts/me/", headers=bearer)).json()["username"] == "ada"
        for path in ("/accounts/tokens/", "/accounts/profile/password/"):
            answer = await script.post(path, form, headers=bearer)
            self.assertContains(answer, "not a bearer token", status_code=403)
        self.assertContains(await self.async_client.get("/accounts/tokens/"), "last used")

        revoke = f"/accounts/tokens/{token.pk}/revoke/"
        stranger = self.async_client_class()
        await stranger.aforce_login(self.ben)
        assert (await stranger.post(revoke)).status_code == 404
        answer = await self.async_client.post(revoke)
        self.assertRedirects(answer, "/accounts/tokens/", fetch_redirect_response=False)
        assert (await script.get("/accounts/me/", headers=bearer)).status_code == 401

    async def test_what_cannot_be_a_token_is_refused_with_the_reason(self) -> None:
        await self.async_client.aforce_login(self.ada)
        for name, expires, wrong in (
            ("", "7", "name"),
            ("a\nb", "7", "name"),
            ("x" * 101, "7", "name"),
            ("x", "8", "expires"),
        ):
            form = {"name": name, "expires": expires}
            answer = await self.async_client.post("/accounts/tokens/", form)
            self.assertContains(answer, f'id="id_{wrong}_error"', status_code=400)
        for _ in range(services.MAX_TOKENS):
            await Token.aissue(self.ada, name="one of many")
        form = {"name": "one too many", "expires": ""}
        answer = await self.async_client.post("/accounts/tokens/", form)
        self.assertContains(answer, "Revoke one of them first.", status_code=409)

    async def test_a_form_that_is_sent_again_issues_no_second_token(self) -> None:
        await self.async_client.aforce_login(self.ada)
        form = {"name": "Nightly", "expires": "7"}
        assert (await self.async_client.post("/accounts/tokens/", form)).status_code == 200
        again = await self.async_client.post("/accounts/tokens/", form)
        self.assertContains(again, "You have a token for “Nightly”.", status_code=409)
        self.assertContains(again, 'id="id_name_error"', status_code=409)
        token = await services.valid_tokens(self.ada).aget()
        await token.arevoke()
        assert (await self.async_client.post("/accounts/tokens/", form)).status_code == 200
        # Another's names are no matter.
        await self.async_client.aforce_login(self.ben)
        assert (await self.async_client.post("/accounts/tokens/", form)).status_code == 200


class Garden(RoomConsumer):
    """Hears whatever is announced in a room."""

    def room_name(self) -> str:
        return log_of("garden")


class OwnersTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        users = get_user_model().objects
        cls.ada, cls.ben, cls.gus = (users.create_user(name) for name in ("ada", "ben", "gus"))
        Profile.objects.create(user=cls.ada, role=Role.OWNER)
        Profile.objects.create(user=cls.gus, role=Role.GUEST)

    async def change(self, user: Any, role: str, **form: str) -> Any:
        path = f"/accounts/members/{user.pk}/role/"
        return await self.async_client.post(path, {"role": role, **form})

    async def test_the_page_is_for_owners(self) -> None:
        assert (await self.async_client.get("/accounts/members/")).status_code == 302
        for user in (self.ben, self.gus):
            await self.async_client.aforce_login(user)
            page = await self.async_client.get("/accounts/members/")
            self.assertContains(page, "This takes the role “Owner”.", status_code=403)
            assert (await self.change(user, "owner")).status_code == 403
            with self.assertRaisesMessage(PermissionDenied, "“Owner”"):
                await services.change_role(user, user.pk, Role.OWNER)
        assert await Profile.objects.acount() == 2, "nothing was made on the way"

    async def test_a_role_is_changed_and_its_owner_told(self) -> None:
        await self.async_client.aforce_login(self.ada)
        answer = await self.change(self.ben, "guest", query="q=be&page=1")
        self.assertRedirects(
            answer, "/accounts/members/?q=be&page=1", fetch_redirect_response=False
        )
        assert (await Profile.objects.aget(user=self.ben)).role == Role.GUEST
        notice = await Notice.objects.aget(user=self.ben)
        assert notice.text == "ada changed your role to “Guest”."
        await self.change(self.ben, "guest")
        assert await Notice.objects.acount() == 1, "nothing has changed"
        for query, names in (
            ("", ["ada", "ben", "gus"]),
            ("?role=guest", ["ben", "gus"]),
            ("?q=E", ["ben"]),
            ("?role=member", []),
        ):
            page = (await self.async_client.get(f"/accounts/members/{query}")).content.decode()
            shown = [name for name in ("ada", "ben", "gus") if f"<h3>{name}" in page]
            assert shown == names, query

    async def test_the_last_owner_stays_one(self) -> None:
        await self.async_client.aforce_login(self.ada)
        answer = await self.change(self.ada, "member")
        self.assertContains(answer, "ada is the last owner.", status_code=409)
        anew = await self.async_client.get(f"/accounts/members/{self.ada.pk}/role/?page=1")
        self.assertRedirects(anew, "/accounts/members/?page=1", fetch_redirect_response=False)
        await self.change(self.ben, "owner")
        answer = await self.change(self.ada, "member")
        self.assertRedirects(answer, "/accounts/profile/", fetch_redirect_response=False)
        with self.assertRaisesMessage(
            PermissionDenied, "“Owner”"
        ):  # although the object says otherwise
            await services.change_role(self.ada, self.ben.pk, Role.GUEST)
        root = await get_user_model().objects.acreate_superuser("root")
        with self.assertRaisesMessage(services.NotChangedHere, "root is a superuser"):
            await services.change_role(self.ben, root.pk, Role.GUEST)
        await services.change_role(root, self.ben.pk, Role.GUEST)

    async def test_what_there_is_not_is_not_found(self) -> None:
        await self.async_client.aforce_login(self.ada)
        assert (await self.change(self.ben, "emperor")).status_code == 404
        await get_user_model().objects.filter(pk=self.ben.pk).aupdate(is_active=False)
        assert (await self.change(self.ben, "guest")).status_code == 404
        assert (await self.async_client.get("/accounts/members/?page=9")).status_code == 404
        assert (await self.async_client.get("/accounts/members/?page=x")).status_code == 400

    async def test_sockets_hear_of_a_new_role(self) -> None:
        room = await Room.objects.acreate(slug="garden", name="Garden")
        await Membership.objects.acreate(room=room, user=self.ben)
        inbox = await joined(self.async_client, self.ben)
        there = Socket(Garden.as_asgi(), "/")
        there.scope["user"] = self.ben
        assert (await there.connect(TIMEOUT_S))[0]
        await there.next_of("joined")
        with self.captureOnCommitCallbacks(execute=True):
            await services.change_role(self.ada, self.ben.pk, Role.GUEST)
        heard = await inbox.next_of("role")
        assert (heard["role"], heard["label"]) == ("guest", "Guest")
        assert (await there.next_of("role"))["user"] == self.ben.pk
        for socket in (inbox, there):
            await socket.disconnect()
