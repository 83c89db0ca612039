"""Functions of every kind, at which tests of windows hold somebody."""

import asyncio

from onloop import bridge

calls: list[str] = []


def plain(what: str) -> str:
    calls.append(what)
    return what


async def coroutine(what: str) -> str:
    calls.append(what)
    return what


def waiting(what: str) -> str:
    plain(what)
    bridge.await_(asyncio.sleep(0))
    calls.append(f"{what} went on")
    return what


class Base:
    def inherited(self, what: str) -> str:
        return plain(what)


class Place(Base):
    def method(self, what: str) -> str:
        return plain(what)

    async def acoroutine(self, what: str) -> str:
        return plain(what)

    @staticmethod
    def static(what: str) -> str:
        return plain(what)

    @classmethod
    def of_class(cls, what: str) -> str:
        return plain(f"{cls.__name__} {what}")
