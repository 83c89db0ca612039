"""Hooks for `ONLOOP["LIFESPAN"]`, which print what happens to them."""

import sys
from contextlib import asynccontextmanager

from tests.project.library.models import Author


def say(text):
    print(text, file=sys.stderr, flush=True)


@asynccontextmanager
async def first():
    say("first entered")
    yield
    say("first left")


@asynccontextmanager
async def second():
    say(f"second entered, {await Author.objects.acount()} authors")
    yield
    # A lazy QuerySet, in the plain `async def` of a user.
    say(f"second left, {len(Author.objects.all())} authors")


@asynccontextmanager
async def fails():
    raise ZeroDivisionError("this hook fails")
    yield
