"""``MetaDataset``: the history itself. What is asked of it belongs here; how a database does it is in ``sql``."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architecture import Architecture
from nas.errors import HistoryError
from nas.metadataset import place as places
from nas.metadataset.appending import append_rows, differing
from nas.metadataset.forgetting import Removed, remove_dataset, remove_search
from nas.metadataset.lazy import Stored, grouped, stored
from nas.metadataset.merging import Merged, home_of
from nas.metadataset.place import MEMORY
from nas.metadataset.rows import COLUMNS, Row, dumps, loads, record_of, row_of
from nas.record import SCHEMA_VERSION, DatasetInfo, PastDataset, Record, SearchInfo

if TYPE_CHECKING:
    import sqlalchemy as sa

REMEMBERED = 100_000  # parsed architectures kept by one open history
TAKEN = 5000  # rows of a pack kept in one transaction
_MODULUS = 2**256


@dataclass(frozen=True)
class Snapshot:
    """What a history held at one moment: the id of its last record (0 where empty) and a digest of the content."""

    last: int
    digest: str


class MetaDataset:
    """Every dataset, search and record of the past; a context manager. Made by ``open`` and ``from_pack``.

    place: where it is; notice: a sentence where that is not what was asked for, else empty; read_only: whether every
    writing method refuses. Whatever the file or the database complains of is a HistoryError of one sentence. What a
    writing method wrote is committed when it returns.
    """

    def __init__(self, engine: sa.Engine, place: str, *, read_only: bool = False, notice: str = "") -> None:
        self.place = place
        self.read_only = read_only
        self.notice = notice
        self._engine = engine
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._architectures: dict[str, Architecture] = {}
        self._close = weakref.finalize(self, engine.dispose)

    def __deepcopy__(self, memo: object) -> MetaDataset:
        """Returns the same open history: what is copied around it (sklearn.base.clone) refers to it too."""
        return self

    @classmethod
    def open(cls, source: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> MetaDataset:
        """Returns the history at ``source``, begun where nothing is there yet.

        source: a path, a pack (``.parquet``, read only), ``":memory:"``, a SQLAlchemy URL, or None for the default
        place: $NAS_HISTORY or the user's data folder. Where the default cannot be written, a temporary copy takes its
        place and ``notice`` says so. A history of an older version is read as it is; opened for writing it is brought
        to this one, after a file was copied to ``.schema`` and its old version beside it.
        """
        from nas.metadataset import sql

        path = places.local(source) if source is not None else places.default()
        if path == MEMORY:
            return cls(sql.open_memory(), MEMORY, read_only=read_only)
        if isinstance(path, str):
            engine, address, notice = sql.open_url(path, read_only=read_only)
            return cls(engine, address, read_only=read_only, notice=notice)
        if places.is_pack(path):
            return cls.from_pack(path)
        path, notice = (path, "") if source is not None or read_only else places.writable(path)
        engine, upgraded = sql.open_file(path, read_only=read_only)
        return cls(engine, str(path), read_only=read_only, notice=" ".join(filter(None, (notice, upgraded))))

    @classmethod
    def from_pack(cls, path: str | os.PathLike[str]) -> MetaDataset:
        """Returns the content of a pack, in memory and read only; HistoryError unless every field of it is sound."""
        from nas.metadataset import sql

        history = cls(sql.open_memory(), str(path))
        history.take(Path(path))
        history.read_only = True
        return history

    def __enter__(self) -> MetaDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MetaDataset({self.place!r})"

    def __len__(self) -> int:
        """Returns how many records there are."""
        return self.sizes()["records"]

    def close(self) -> None:
        """Lets go of the database; reading or writing again opens it anew."""
        self._engine.dispose()

    def add_dataset(self, info: DatasetInfo) -> None:
        """Keeps what is known of a dataset.

        Of two descriptions the first stays, unless its meta-features are older or it lacks the sketch of the other.
        """
        from nas.metadataset import sql

        table, text = sql.DATASETS, dumps(info.to_dict())
        with self._writing() as connection:
            known = connection.scalar(sql.sa.select(table.c.info).where(table.c.fingerprint == info.fingerprint))
            if known is None:
                connection.execute(sql.sa.insert(table).values(fingerprint=info.fingerprint, info=text))
            elif _is_better(info, DatasetInfo.from_dict(loads(known))):
                connection.execute(
                    sql.sa.update(table).where(table.c.fingerprint == info.fingerprint).values(info=text)
                )

    def datasets(self) -> list[DatasetInfo]:
        """Returns every dataset, by fingerprint."""
        from nas.metadataset import sql

        with self._reading() as connection:
            texts = connection.scalars(sql.sa.select(sql.DATASETS.c.info).order_by(sql.DATASETS.c.fingerprint)).all()
        return sorted((DatasetInfo.from_dict(loads(text)) for text in texts), key=lambda info: info.fingerprint)

    def add_search(self, info: SearchInfo) -> SearchInfo:
        """Keeps what is known of a search and returns it as kept.

        A search added again keeps when it was created and what it had learned from; ``finished`` and ``account`` are
        taken over where given.
        HistoryError where its name belongs to a search on other data, or with another space, protocol, seed or
        controller.
        """
        from nas.metadataset import sql

        table = sql.SEARCHES
        with self._writing() as connection:
            known = connection.scalar(sql.sa.select(table.c.info).where(table.c.name == info.name))
            if known is None:
                values = {"name": info.name, "dataset": info.dataset, "info": dumps(info.to_dict())}
                connection.execute(sql.sa.insert(table).values(values))
                return info
            kept = SearchInfo.from_dict(loads(known))
            for field in ("dataset", "space", "space_json", "protocol", "seed", "controller"):
                if getattr(kept, field) != getattr(info, field):
                    raise HistoryError(
                        f"The search {info.name!r} is in {self.place} with another {field}; give this one another name."
                    )
            newer = replace(kept, finished=info.finished or kept.finished, account=info.account or kept.account)
            if newer != kept:
                kept = newer
                statement = sql.sa.update(table).where(table.c.name == info.name)
                connection.execute(statement.values(info=dumps(kept.to_dict())))
            return kept

    def search(self, name: str) -> SearchInfo | None:
        """Returns what is known of a search, None where there is none of that name."""
        from nas.metadataset import sql

        with self._reading() as connection:
            text = connection.scalar(sql.sa.select(sql.SEARCHES.c.info).where(sql.SEARCHES.c.name == name))
        return None if text is None else SearchInfo.from_dict(loads(text))

    def searches(self) -> list[SearchInfo]:
        """Returns every search, by time of creation, then name."""
        from nas.metadataset import sql

        with self._reading() as connection:
            texts = connection.scalars(sql.sa.select(sql.SEARCHES.c.info)).all()
        return sorted((SearchInfo.from_dict(loads(text)) for text in texts), key=lambda info: (info.created, info.name))

    def append(self, records: Iterable[Record]) -> int:
        """Keeps records, all of them or none, and returns how many were new; they are committed on return.

        A record that is there already (same search, purpose, number and content) is passed over; a different one at the
        same place is a HistoryError, as is a dataset that was never added.
        """
        return self._append_rows([row_of(record) for record in records])

    def records(
        self, *, search: str | None = None, dataset: str | None = None, as_of: int | None = None
    ) -> list[Record]:
        """Returns records in the order they were kept: of one search, of one dataset (fingerprint), up to an id."""
        from nas.metadataset import sql

        table = sql.RECORDS
        wanted = sql.sa.select(table).order_by(table.c.id)
        if search is not None:
            wanted = wanted.where(table.c.search == search)
        if dataset is not None:
            wanted = wanted.where(table.c.dataset == dataset)
        if as_of is not None:
            wanted = wanted.where(table.c.id <= as_of)
        with self._reading() as connection:
            rows = [dict(row) for row in connection.execute(wanted).mappings()]
        return [record_of(row, self._parsed()) for row in rows]

    def past(self, as_of: int | None = None, without: str = "") -> list[PastDataset]:
        """Returns each dataset with its records, ordered by content alone: two copies of a history give the same.

        as_of: records up to this id only. without: a search whose records are left out. Datasets without a record are
        left out. Records stay in a file or database until those of a dataset are looked at; choices, architectures,
        settings and outcomes are parsed when they are; one that is unsound is a HistoryError then.
        """
        from nas.metadataset import sql

        table, last = sql.RECORDS, self._last(as_of)
        wanted = sql.sa.and_(table.c.id <= last, table.c.search != without)
        if sql.is_memory(self._engine):  # gone when it is closed
            return grouped(self.datasets(), self._stored(wanted))
        digests: dict[str, list[str]] = {}
        with self._reading() as connection:
            for name, digest in connection.execute(sql.sa.select(table.c.dataset, table.c.digest).where(wanted)):
                digests.setdefault(name, []).append(digest)
        datasets = self.datasets()
        try:
            return stored(datasets, digests, lambda name: self._stored(sql.sa.and_(wanted, table.c.dataset == name)))
        except (TypeError, ValueError) as error:
            raise self._damaged() from error

    def counts(self, as_of: int | None = None) -> dict[str, int]:
        """Returns how many records each search has, by name."""
        from nas.metadataset import sql

        table = sql.RECORDS
        wanted = sql.sa.select(table.c.search, sql.sa.func.count()).group_by(table.c.search)
        if as_of is not None:
            wanted = wanted.where(table.c.id <= as_of)
        with self._reading() as connection:
            return {name: int(count) for name, count in sorted(tuple(row) for row in connection.execute(wanted))}

    def snapshot(self, as_of: int | None = None) -> Snapshot:
        """Returns the last id (at most ``as_of``) and a digest of the records up to it and of their datasets.

        The digest is the sha256 of a sum modulo 2^256 of each record's and each dataset's own sha256 (a multiset hash:
        Clarke et al., 2003), so the order in which records came does not count.
        """
        from nas.metadataset import sql

        table, known = sql.RECORDS, sql.DATASETS
        last = self._last(as_of)
        with self._reading() as connection:
            digests = connection.scalars(sql.sa.select(table.c.digest).where(table.c.id <= last)).all()
            used = sql.sa.exists().where(table.c.dataset == known.c.fingerprint, table.c.id <= last)
            infos = connection.scalars(sql.sa.select(known.c.info).where(used)).all()
        try:
            total = sum(int(text, 16) for text in digests)
        except (TypeError, ValueError) as error:
            raise self._damaged() from error
        total += sum(int(hashlib.sha256(text.encode()).hexdigest(), 16) for text in infos)
        text = f"{len(digests)}:{total % _MODULUS}"
        return Snapshot(last, hashlib.sha256(text.encode()).hexdigest())

    def forget(self, search: str) -> Removed:
        """Removes a search, its records, and its dataset unless something else refers to it; returns what was removed.

        The freed bytes of a SQLite file are overwritten. Ids are never given again. HistoryError where no such search
        is.
        """
        with self._writing() as connection:
            removed = remove_search(connection, self.place, search)
        return self._erased(removed)

    def forget_dataset(self, fingerprint: str) -> Removed:
        """Removes a dataset, every search on it and their records, as ``forget`` does; returns what was removed."""
        with self._writing() as connection:
            removed = remove_dataset(connection, self.place, fingerprint)
        return self._erased(removed)

    def _erased(self, removed: Removed) -> Removed:
        """Removes what was learned from this history, which tells of what is forgotten, and overwrites the bytes."""
        from nas.metadataset import sql

        for path in [] if self.priors is None else [p for p in self.priors.glob("*") if p.is_file()]:
            path.unlink(missing_ok=True)
        return replace(removed, erased=sql.tidy(self._engine))

    @property
    def priors(self) -> Path | None:
        """The folder for what was learned from this history: beside a file, else the user's; None for one in memory.

        It may be deleted at any time, and is emptied when something is forgotten.
        """
        from nas.metadataset import sql

        return None if sql.is_memory(self._engine) else places.priors(self.place)

    def older_copies(self) -> list[Path]:
        """Returns the files that hold this history as it was before upgrades; what is forgotten stays in them."""
        copies = (places.older_copy(Path(self.place), version) for version in range(1, SCHEMA_VERSION))
        return [path for path in copies if path.is_file()]

    def merge(self, other: MetaDataset) -> Merged:
        """Copies what ``other`` has and this one lacks, and returns what was new.

        Doing it twice adds nothing; interrupted, it goes on where it is done again. Where both have a search of one
        name that is not the same search, the other's comes under ``name~`` and eight digits of its content. Of a
        dataset that both know, this one's description stays (as in ``add_dataset``).
        """
        before, renamed = self.sizes(), {}
        for info in other.datasets():
            self.add_dataset(info)
        infos = {info.name: info for info in other.searches()}
        for name in sorted(infos.keys() | other.counts().keys()):
            search, rows = infos.get(name), other._search_rows(name)
            home = home_of(name, search, rows, self.search, self._differing)
            is_new = self.search(home) is None
            if search is not None:
                self.add_search(replace(search, name=home))
            if self._append_rows([row | {"search": home} for row in rows]) + is_new and len(home) > len(name):
                renamed[name] = home
        return Merged(**{what: count - before[what] for what, count in self.sizes().items()}, renamed=renamed)

    def export_pack(self, path: str | os.PathLike[str], *, anonymous: bool = False) -> Path:
        """Writes everything into one Parquet file to pass on, and returns its path; what it reveals is written inside.

        Messages of failures and accounts of searches stay out: they may quote the data. anonymous: names of datasets,
        families and searches become hashes, and sketches stay out, so that nobody can recognise grown data in it.
        """
        from nas.metadataset import pack

        rows = (row for name in self.counts() for row in self._search_rows(name))
        searches = [replace(search, account={}) for search in self.searches()]
        return pack.write(Path(path), self.datasets(), searches, rows, anonymous)

    def import_pack(self, path: str | os.PathLike[str]) -> Merged:
        """Merges a pack into this history and returns what was new."""
        with MetaDataset.from_pack(path) as other:
            return self.merge(other)

    def take(self, path: Path) -> None:
        """Adds what a pack holds; where that is unsound, what came before it stays."""
        from nas.metadataset import pack

        rows: list[Row] = []
        for each in pack.read(path, self._parsed()):
            if isinstance(each, DatasetInfo):
                self.add_dataset(each)
            elif isinstance(each, SearchInfo):
                self.add_search(each)
            else:
                rows.append(each)
            if len(rows) >= TAKEN:
                self._append_rows(rows)
                rows.clear()
        self._append_rows(rows)

    def _differing(self, search: str, rows: Sequence[Row]) -> str | None:
        if not rows:
            return None
        with self._reading() as connection:
            return differing(connection, search, rows)

    def _append_rows(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        with self._writing() as connection:
            return append_rows(connection, self.place, rows)

    def _search_rows(self, name: str) -> list[Row]:
        """Returns the rows of a search, each one read once so that nothing unsound is passed on."""
        return [row_of(record) for record in self.records(search=name)]

    def sizes(self) -> dict[str, int]:
        """Returns how many datasets, searches and records there are."""
        from nas.metadataset import sql

        tables = {"datasets": sql.DATASETS, "searches": sql.SEARCHES, "records": sql.RECORDS}
        count = sql.sa.func.count()
        with self._reading() as connection:
            return {
                name: int(connection.scalar(sql.sa.select(count).select_from(table)) or 0)
                for name, table in tables.items()
            }

    def _damaged(self) -> HistoryError:
        return HistoryError(
            f"The history {self.place} is damaged (a digest is none); restore it from a copy or a pack."
        )

    def _last(self, as_of: int | None) -> int:
        """Returns the id of the last record, ``as_of`` at most; 0 where there is none."""
        from nas.metadataset import sql

        with self._reading() as connection:
            last = int(connection.scalar(sql.sa.select(sql.sa.func.max(sql.RECORDS.c.id))) or 0)
        return last if as_of is None else min(last, as_of)

    def _stored(self, wanted: sa.ColumnElement[bool]) -> list[Record]:
        """Returns the records for which ``wanted`` holds, parsed where they are looked at."""
        from nas.metadataset import sql

        made, columns = Stored(self._parsed()), [sql.RECORDS.c[name] for name in COLUMNS]
        with self._reading() as connection:
            return [made.record(row) for row in connection.execute(sql.sa.select(*columns).where(wanted))]

    def _parsed(self) -> dict[str, Architecture]:
        if len(self._architectures) > REMEMBERED:
            self._architectures = {}
        return self._architectures

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        from nas.metadataset import sql

        self._leave_parent()
        with self._lock, sql.transaction(self._engine, self.place) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        from nas.metadataset import sql

        if self.read_only:
            raise HistoryError(f"{self.place} was opened to be read only; open another history for writing.")
        self._leave_parent()
        with self._lock, sql.transaction(self._engine, self.place, write=True) as connection:
            yield connection

    def _leave_parent(self) -> None:
        """Gives a forked process connections of its own (https://www.sqlite.org/howtocorrupt.html, 2.6)."""
        if os.getpid() != self._process and self.place != MEMORY:
            self._engine.dispose(close=False)
            self._process = os.getpid()


def _is_better(new: DatasetInfo, old: DatasetInfo) -> bool:
    if new.metafeatures_version != old.metafeatures_version:
        return new.metafeatures_version > old.metafeatures_version
    return bool(new.sketch) and not old.sketch
