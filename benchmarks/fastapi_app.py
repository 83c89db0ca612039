"""The same five endpoints in FastAPI, with SQLAlchemy's asyncio extension on asyncpg."""

import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import URL, ForeignKey, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from benchmarks.endpoints import IN_TURN, JOINED

engine = create_async_engine(
    URL.create(
        "postgresql+asyncpg",
        username=os.environ["BENCH_PG_USER"],
        host=os.environ["BENCH_PG_HOST"],
        port=int(os.environ["BENCH_PG_PORT"]),
        database=os.environ["BENCH_PG_NAME"],
    ),
    pool_size=20,
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    pages: Mapped[int]
    published: Mapped[datetime.date]
    sold: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship()


class BookOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    pages: int
    published: datetime.date
    author_id: int


class BooksOut(BaseModel):
    books: list[BookOut]


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/json")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/row/{pk}")
async def row(pk: int, session: Session) -> BookOut:
    return await session.get_one(Book, pk)


@app.get("/join/{pk}")
async def join(pk: int, session: Session):
    statement = (
        select(Book)
        .options(joinedload(Book.author))
        .where(Book.id >= pk)
        .order_by(Book.id)
        .limit(JOINED)
    )
    books = await session.scalars(statement)
    return {"books": [{"id": b.id, "title": b.title, "author": b.author.name} for b in books]}


@app.get("/ten/{pk}")
async def ten(pk: int, session: Session) -> BooksOut:
    return {"books": [await session.get_one(Book, key) for key in range(pk, pk + IN_TURN)]}


@app.post("/update/{pk}")
async def update_one(pk: int, session: Session) -> dict[str, int]:
    async with session.begin():
        statement = update(Book).where(Book.id == pk).values(sold=Book.sold + 1)
        result = await session.execute(statement)
    return {"updated": result.rowcount}
