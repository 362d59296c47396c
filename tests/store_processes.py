"""Processes that tests and benchmarks start: writers of a history that can be killed, and a PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]

WRITER = """
import sys
from conformance_store import dataset, record, search_info
from nas.metadataset import MetaDataset
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with MetaDataset.open(path) as store:
    store.add_dataset(dataset())
    store.add_search(search_info(name))
    for number in range(len(store.records(search=name)), count):
        store.append([record(number, name)])
        print(number, flush=True)
"""
"""Appends records of a search one by one (place, name, count), from where it stands; tells each once committed."""


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """Starts a Python process that knows the library and the builders of these tests."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def sound(path: Path) -> bool:
    """Returns whether SQLite finds a file whole."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Server:
    """A PostgreSQL server of one's own; ``url`` is its address."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._user = _unprivileged()
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "-A", "trust", "-U", "nas", "--no-sync", "-E", "UTF8", "--locale=C")
        with socket.socket() as free:  # as late as can be, so that nobody else takes it
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql://nas@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = (
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        )
        self._run("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """Kills the server as a power cut would: it recovers from its log at the next start."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        command = [self._binaries / name, "-D", self._folder / "data", *arguments]
        options = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid} if self._user else {}
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, **options)


@contextmanager
def postgres() -> Iterator[Server | None]:
    """Yields a running server in a folder of its own, None where PostgreSQL or its driver is not installed."""
    binaries = _binaries()
    if binaries is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
    folder.chmod(0o755)
    server = Server(folder, binaries)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


def _binaries() -> Path | None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return None
    known = shutil.which("initdb")
    if known:
        return Path(known).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _unprivileged() -> str | None:
    """Returns whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def kill_9(process: subprocess.Popen[str]) -> None:
    """Kills a process without a chance to tidy up, and waits until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait()
