"""``manage.py test``: who has which role."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.test import TestCase

from accounts.models import Profile, Role
from accounts.roles import has_role, require, role_of


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
