"""Tables, connections and their faults: everything of the history that depends on SQLAlchemy or SQLite.

Belongs here: what is specific to a database. Statements are SQLAlchemy Core without dialect features, JSON is text, so
that PostgreSQL runs the same ones. Does not belong here: what the rows mean (``rows``, ``store``). This module imports
SQLAlchemy; ``store`` imports it when a history is opened.

SQLite: write-ahead log, so that readers and one writer do not block each other; every write begins with
``BEGIN IMMEDIATE``, which waits for its turn; ``synchronous=NORMAL``: killing the process loses nothing that was
committed, a power cut may lose the last transactions but never the file's integrity.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from nas.errors import HistoryError
from nas.metadataset.place import older_copy
from nas.metadataset.rows import COLUMNS
from nas.record import SCHEMA_VERSION

BUSY_SECONDS = 60
APPLICATION_ID = 0x6E617331
"""``nas1``, kept in the header of a SQLite file: whether a file is a history is known without opening it."""

_TYPES: dict[type, Any] = {str: sa.Text(), int: sa.BigInteger(), float: sa.Float(53)}
METADATA = sa.MetaData()
META = sa.Table(
    "nas_meta",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
DATASETS = sa.Table(
    "nas_datasets",
    METADATA,
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("info", sa.Text, nullable=False),
)
SEARCHES = sa.Table(
    "nas_searches",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False, index=True),
    sa.Column("info", sa.Text, nullable=False),
)
RECORDS = sa.Table(
    "nas_records",
    METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    *(sa.Column(name, _TYPES[kind], nullable=name == "score") for name, kind in COLUMNS.items()),
    sa.Column("digest", sa.Text, nullable=False),
    sa.UniqueConstraint("search", "purpose", "number"),
    sa.Index("nas_records_key", "key"),
    sa.Index("nas_records_dataset", "dataset"),
    sqlite_autoincrement=True,
)


def open_file(path: Path, *, read_only: bool) -> tuple[sa.Engine, str]:
    """Returns a checked engine over a SQLite file, made where it is missing; HistoryError if it is something else.

    The text is a sentence where the file was upgraded, else empty.
    """
    if _is_new(path):
        if read_only:
            raise HistoryError(f"There is no history at {path}; check the path, or open it for writing to begin one.")
        _make_folder(path.parent)
    uri = path.absolute().as_uri()
    engine = _sqlite(uri + ("?mode=ro" if read_only else "?mode=rwc"))
    try:
        if read_only and not _readable(engine):
            engine.dispose()
            engine = _sqlite(uri + "?immutable=1")
        notice = _prepare(engine, str(path), read_only=read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine, notice


def open_memory() -> sa.Engine:
    """Returns an engine over an empty history in memory."""
    engine = _sqlite(":memory:")
    _prepare(engine, ":memory:", read_only=False)
    return engine


def is_memory(engine: sa.Engine) -> bool:
    """Returns whether what an engine holds ends with it."""
    return isinstance(engine.pool, StaticPool)


def open_url(url: str, *, read_only: bool) -> tuple[sa.Engine, str, str]:
    """Returns a checked engine over any database SQLAlchemy reaches, its address without the password, and a notice."""
    try:
        address = sa.make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(address, pool_pre_ping=True)
    except ImportError as error:
        raise HistoryError(
            f"The history {url.split('://')[0]}://... needs a driver: pip install nas[postgres]."
        ) from error
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise HistoryError(f"{url.split('://')[0]}://... is not a database address: {error}.") from error
    place = address.render_as_string(hide_password=True)
    try:
        notice = _prepare(engine, place, read_only=read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine, place, notice


@contextmanager
def transaction(engine: sa.Engine, place: str, *, write: bool = False) -> Iterator[sa.Connection]:
    """Yields a connection inside one transaction; what the database complains of becomes a HistoryError.

    Writers take turns, so that ids follow the order of commits and ``as_of`` means the same ever after.
    """
    try:
        with engine.connect() as connection:
            connection.execution_options(nas_write=write)
            with connection.begin():
                if write and engine.dialect.name == "postgresql":  # one writer at a time, as SQLite has it
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({APPLICATION_ID})")
                yield connection
    except sa.exc.DBAPIError as error:
        raise HistoryError(_explain(place, str(error.orig))) from error
    except (sa.exc.SQLAlchemyError, sqlite3.Error, UnicodeEncodeError) as error:
        raise HistoryError(_explain(place, str(error))) from error


def tidy(engine: sa.Engine) -> bool:
    """Moves what is in the write-ahead log into the file, so that what was overwritten there is gone from both.

    Returns whether it is: not where another process is reading, nor in another database than SQLite.
    """
    if engine.dialect.name != "sqlite":
        return False
    connection = engine.raw_connection()
    try:
        busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return not busy


def schema_version(connection: sa.Connection) -> int | None:
    """Returns the version of the tables, None where there are none."""
    if not sa.inspect(connection).has_table(META.name):
        return None
    value = connection.scalar(sa.select(META.c.value).where(META.c.name == "schema_version"))
    return int(value) if value is not None and str(value).isdecimal() else None


def _prepare(engine: sa.Engine, place: str, *, read_only: bool) -> str:
    """Makes the tables where there are none, upgrades older ones, and refuses versions this library does not know.

    Returns a sentence where something was upgraded, else an empty text.
    """
    with transaction(engine, place) as connection:
        version = schema_version(connection)
    if version is None and not read_only:
        with transaction(engine, place, write=True) as connection:
            version = schema_version(connection)
            if version is None:
                version = _create(connection, place)
    if version is None:
        raise HistoryError(f"{place} is not a history of this library: it lacks the table {META.name}.")
    if not 1 <= version <= SCHEMA_VERSION:
        raise HistoryError(
            f"{place} has schema version {version}, but this library reads versions 1 to {SCHEMA_VERSION}; "
            "upgrade the library to open it."
        )
    notice = _upgrade(engine, place, version) if version < SCHEMA_VERSION and not read_only else ""
    if engine.dialect.name == "sqlite" and not read_only:
        _write_ahead(engine, place)
    return notice


def _upgrade(engine: sa.Engine, place: str, version: int) -> str:
    """Brings tables to this version in one transaction, a file being copied before; returns a sentence about it.

    From 1 to 2 nothing stored changes: a dataset's sketch may be absent.
    """
    copied = ""
    if engine.dialect.name == "sqlite":
        copied = f"; {_copy(engine, place, version)} holds it as it was"
    with transaction(engine, place, write=True) as connection:
        number = sa.update(META).where(META.c.name == "schema_version", META.c.value == str(version))
        connection.execute(number.values(value=str(SCHEMA_VERSION)))
    return f"{place} was upgraded from schema version {version} to {SCHEMA_VERSION}{copied}."


def _copy(engine: sa.Engine, place: str, version: int) -> Path:
    """Copies a file, with what its log holds, to one beside it named after its version, unless that is there."""
    path = Path(place)
    target = older_copy(path, version)
    temporary = path.with_name(f".{target.name}.{os.getpid()}")
    try:
        if not target.exists():
            with closing(sqlite3.connect(temporary)) as copy, closing(engine.raw_connection()) as source:
                assert isinstance(source.driver_connection, sqlite3.Connection)
                source.driver_connection.backup(copy)
            shutil.copymode(path, temporary)
            os.replace(temporary, target)
    except (OSError, sqlite3.Error) as error:
        raise HistoryError(
            f"{place} has schema version {version} and is copied before it is upgraded, but {target} cannot be "
            f"written ({error}); free some space, or open it read only."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _create(connection: sa.Connection, place: str) -> int:
    taken = set(sa.inspect(connection).get_table_names()) & set(METADATA.tables)
    if taken:
        raise HistoryError(
            f"{place} is not a history of this library: it has {', '.join(sorted(taken))} but no version."
        )
    METADATA.create_all(connection)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    meta = {"schema_version": str(SCHEMA_VERSION), "created": now}
    connection.execute(sa.insert(META), [{"name": name, "value": value} for name, value in meta.items()])
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    return SCHEMA_VERSION


def _write_ahead(engine: sa.Engine, place: str) -> None:
    """Switches the file to a write-ahead log; another process may be doing the same, so it is tried for a while."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise HistoryError(_explain(place, str(error))) from error
            time.sleep(0.02)
        finally:
            connection.close()


def _sqlite(target: str) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            target, uri=target != ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    if target == ":memory:":
        engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    else:
        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("nas_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    @sa.event.listens_for(engine, "handle_error")
    def broken_off(context: sa.ExceptionContext) -> None:
        if not isinstance(context.original_exception, Exception):  # Ctrl-C: the transaction ends, not the connection
            context.is_disconnect = False  # whose lock would stay until it is collected, and with it all in memory

    return engine


def _is_new(path: Path) -> bool:
    """Returns whether a history can begin at ``path``; HistoryError if a file that is no history is there.

    Reads 100 bytes and leaves the file alone: https://www.sqlite.org/fileformat.html, 1.3 and 1.3.15.
    """
    if path.is_dir():
        raise HistoryError(f"{path} is a folder; a history is one file, for example {path / 'history.db'}.")
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise HistoryError(f"The history {path} cannot be read: {error.strerror}.") from error
    if header and (header[:16] != b"SQLite format 3\0" or header[68:72] != APPLICATION_ID.to_bytes(4, "big")):
        raise HistoryError(f"{path} is not a history of this library; it was left as it is: choose another file.")
    return not header


def _readable(engine: sa.Engine) -> bool:
    """Returns whether SQLite can read the file in place; it cannot where its log needs a folder it may not write to."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
        return True
    except sa.exc.OperationalError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HistoryError(f"The folder {folder} for a history cannot be made: {error.strerror}.") from error


def _explain(place: str, complaint: str) -> str:
    """Returns one sentence for what a database complained of."""
    text = complaint.lower()
    if "locked" in text or "busy" in text:
        return f"The history {place} stayed locked by another process for {BUSY_SECONDS} s; try again when it is done."
    if "full" in text or "i/o error" in text:
        return f"The history {place} cannot be written ({complaint}): free some space; what it held before is intact."
    if "readonly" in text or "read-only" in text or "unable to open" in text:
        return f"The history {place} cannot be written ({complaint}); choose another place with storage=."
    if "malformed" in text or "not a database" in text:
        return f"The history {place} is damaged ({complaint}); restore it from a copy or a pack."
    return f"The history {place} cannot be used: {' '.join(complaint.split())}."
