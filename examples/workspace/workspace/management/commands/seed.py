"""``manage.py seed``: fill an empty database with a company that could be real.

Same data every time (but for the orders' references, which must not be guessable). Each part is
written only where its table is empty, so a second run changes nothing.
"""

import datetime
import os
import random
import secrets
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import Sum
from django.utils.text import slugify

from accounts import seeding as account_seeding
from basket import seeding as basket_seeding
from catalogue.models import Category, Order, OrderLine, Product
from catalogue.telling import placed_text
from files import seeding as file_seeding
from files.models import StoredFile
from notices.models import Notice
from people.models import Person, Team
from rooms import seeding
from rooms.models import Membership, Room
from workspace import conversations, words

PEOPLE = 300
PRODUCTS = 2_000
ORDERS = 1_500
DEMO_USER = "demo"
# Another account with the same password: a chat wants two.
SECOND_USER = "robin"
GUEST = "guest"
FIRST_DAY = datetime.datetime(2025, 1, 2, 8, tzinfo=datetime.UTC)
BATCH = 500


class Command(BaseCommand):
    help = "Fill empty tables with demo data and create the staff account “demo”."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if not Team.objects.exists():
            seed_people(random.Random("people"))
        if not Category.objects.exists():
            seed_products(random.Random("products"))
            seed_orders(random.Random("orders"))
        self.stdout.write(
            f"{Person.objects.count()} people in {Team.objects.count()} teams, "
            f"{Product.objects.count()} products, {Order.objects.count()} orders."
        )
        self.stdout.write(create_demo_user(os.environ.get("DEMO_PASSWORD")))
        users = seeding.make_colleagues([DEMO_USER, GUEST, *conversations.COLLEAGUES])
        if not Order.objects.exclude(user=None).exists():
            seed_baskets()
        if not StoredFile.objects.exists():
            for name in file_seeding.OF:
                file_seeding.give(users[name])
        if not Room.objects.exists():
            seed_rooms(random.Random("rooms"), users)
        account_seeding.give_profiles()
        if not Notice.objects.exists():
            account_seeding.give_notices()


def seed_people(rng: random.Random) -> None:
    teams = Team.objects.bulk_create(
        Team(name=name, purpose=purpose) for name, purpose in words.TEAMS
    )
    surnames = [head + tail for head in words.SURNAME_HEADS for tail in words.SURNAME_TAILS]
    pairs = [(first, last) for first in words.FIRST_NAMES for last in surnames]
    people = []
    for number, (first, last) in enumerate(rng.sample(pairs, PEOPLE)):
        people.append(
            Person(
                name=f"{first} {last}",
                email=f"{first}.{last}@example.org".lower(),
                team=teams[number % len(teams)],
                # The first in each team leads it.
                role=words.ROLES[0] if number < len(teams) else rng.choice(words.ROLES[1:]),
                joined=FIRST_DAY.date() - datetime.timedelta(days=rng.randrange(4000)),
                active=rng.random() < 0.95,
            )
        )
    Person.objects.bulk_create(people, batch_size=BATCH)


def seed_products(rng: random.Random) -> None:
    categories = Category.objects.bulk_create(
        Category(name=name, slug=slugify(name)) for name, _, _ in words.CATEGORIES
    )
    variants: list[list[tuple[str, str, tuple[str, str]]]] = []
    for _, _, things in words.CATEGORIES:
        of_category = [
            (thing, style, finish)
            for thing in things.split(",")
            for style in words.STYLES
            for finish in words.FINISHES
        ]
        rng.shuffle(of_category)
        variants.append(of_category)
    products = []
    for number in range(PRODUCTS):
        place = number % len(categories)
        name, base_price, _ = words.CATEGORIES[place]
        thing, style, (finish, finish_text) = variants[place][number // len(categories)]
        euros = max(2, round(base_price * rng.uniform(0.6, 1.9)))
        products.append(
            Product(
                category=categories[place],
                sku=f"{slugify(name)[:3].upper()}-{number + 1:05}",
                name=f"{thing} {style}, {finish}",
                description=f"{finish_text} {rng.choice(words.PRAISE)}",
                price=Decimal(euros)
                - rng.choice([Decimal("0.05"), Decimal("0.50"), Decimal(0)]),
                stock=rng.choice([0, rng.randint(1, 9), *(rng.randint(10, 250),) * 8]),
            )
        )
    Product.objects.bulk_create(products, batch_size=BATCH)


def seed_orders(rng: random.Random) -> None:
    """Orders of the past: what is in stock is what they left."""
    products = list(Product.objects.order_by("pk"))
    buyers = list(Person.objects.order_by("pk")[:200])
    orders, lines = [], []
    moment = FIRST_DAY
    for _ in range(ORDERS):
        moment += datetime.timedelta(minutes=rng.randint(5, 400))
        buyer = rng.choice(buyers)
        cancelled = rng.random() < 0.06
        order = Order(
            customer_name=buyer.name,
            customer_email=buyer.email,
            status=Order.Status.CANCELLED if cancelled else Order.Status.PLACED,
            created_at=moment,
            cancelled_at=moment + datetime.timedelta(hours=rng.randint(1, 48))
            if cancelled
            else None,
        )
        own_lines = [
            OrderLine(
                order=order,
                product=product,
                quantity=rng.choice([1, 1, 1, 2, 2, 3, 5]),
                unit_price=product.price,
            )
            for product in rng.sample(products, rng.choice([1, 1, 2, 3, 4]))
        ]
        order.total = sum((line.amount for line in own_lines), Decimal(0))
        orders.append(order)
        lines += own_lines
    Order.objects.bulk_create(orders, batch_size=BATCH)
    OrderLine.objects.bulk_create(lines, batch_size=BATCH)


def seed_baskets() -> None:
    users = get_user_model().objects.filter(username__in=[DEMO_USER, SECOND_USER])
    for place, user in enumerate(users.order_by("username")):
        basket_seeding.give(user, place)
        basket_seeding.fill(user)


def seed_rooms(rng: random.Random, users: dict[str, Any]) -> None:
    """What colleagues have said to each other, and the last orders."""
    for slug, name, topic, members, script, unread in conversations.ROOMS:
        said = seeding.talk(script, users, rng) or told_orders()
        is_open = slug in conversations.OPEN
        values = {"slug": slug, "name": name, "topic": topic, "is_open": is_open}
        room = seeding.make_room(values, [users[member] for member in members.split()], said)
        read = max(0, len(said) - unread)
        Membership.objects.filter(room=room, user=users[DEMO_USER]).update(read=read)


def told_orders() -> list[seeding.Said]:
    orders = Order.objects.annotate(items=Sum("lines__quantity")).order_by("-created_at")[:80]
    return [(None, placed_text(order, order.items), order.created_at) for order in orders][::-1]


def create_demo_user(password: str | None) -> str:
    """Make the staff account, its colleague and a guest once, and say how to log in.

    A password from the environment is set also on an account that exists; one that was made up
    here is shown this once and stored as a hash only.
    """
    group, _ = Group.objects.get_or_create(name="Editors")
    group.permissions.set(
        Permission.objects.filter(
            content_type__app_label__in=["people", "catalogue", "rooms", "files", "jobs"]
        )
    )
    user, created = get_user_model().objects.get_or_create(
        username=DEMO_USER, defaults={"is_staff": True, "first_name": "Demo"}
    )
    if not created and not password:
        return (
            f"Log in as “{DEMO_USER}” with the password of the first run; "
            f"a new one: python manage.py changepassword {DEMO_USER}"
        )
    second, _ = get_user_model().objects.get_or_create(username=SECOND_USER)
    guest, _ = get_user_model().objects.get_or_create(username=GUEST)
    secret = password or secrets.token_urlsafe(12)
    for account in (user, second, guest):
        account.set_password(secret)
        account.save(update_fields=["password"])
    if created:
        user.groups.add(group)
    if password:
        return (
            f"Log in as “{DEMO_USER}”, “{SECOND_USER}” or “{GUEST}” with the password in "
            "DEMO_PASSWORD."
        )
    return (
        f"Log in as “{DEMO_USER}” with the password {secret} (shown only now); "
        f"as “{SECOND_USER}” or “{GUEST}”, in another browser, with the same."
    )
