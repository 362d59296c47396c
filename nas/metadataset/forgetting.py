"""What is removed from a history when a search or a dataset is forgotten.

Belongs here: which rows go with which. Overwriting them is ``sql``'s, what was learned from them ``store``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas.errors import HistoryError, nearest
from nas.metadataset.rows import loads
from nas.record import DatasetInfo

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass(frozen=True)
class Removed:
    """What was forgotten: names of datasets and searches, and how many records.

    erased: whether the freed bytes are overwritten already; they are not where another process was reading just then,
    nor in PostgreSQL before its next VACUUM FULL.
    """

    datasets: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    records: int = 0
    erased: bool = field(default=True, compare=False)


def remove_search(connection: sa.Connection, place: str, search: str) -> Removed:
    """Removes a search, its records, and its dataset unless something else refers to it; HistoryError if none is."""
    from nas.metadataset import sql

    sa, records, searches = sql.sa, sql.RECORDS, sql.SEARCHES
    own = connection.scalars(sa.select(records.c.dataset).where(records.c.search == search).distinct())
    touched = set(own) | set(connection.scalars(sa.select(searches.c.dataset).where(searches.c.name == search)))
    if not touched:
        names = connection.scalars(sa.select(searches.c.name)).all()
        raise HistoryError(f"There is no search {search!r} in {place};{nearest(search, names)} nothing was removed.")
    removed = connection.execute(sa.delete(records).where(records.c.search == search)).rowcount
    connection.execute(sa.delete(searches).where(searches.c.name == search))
    for table in (records, searches):
        touched -= set(connection.scalars(sa.select(table.c.dataset).where(table.c.dataset.in_(touched))))
    return Removed(_remove_infos(connection, sorted(touched)), (search,), int(removed))


def remove_dataset(connection: sa.Connection, place: str, fingerprint: str) -> Removed:
    """Removes a dataset, every search on it and their records; HistoryError where none is."""
    from nas.metadataset import sql

    sa, records, searches = sql.sa, sql.RECORDS, sql.SEARCHES
    names = set(connection.scalars(sa.select(searches.c.name).where(searches.c.dataset == fingerprint)))
    names |= set(connection.scalars(sa.select(records.c.search).where(records.c.dataset == fingerprint)))
    removed = connection.execute(sa.delete(records).where(records.c.dataset == fingerprint)).rowcount
    connection.execute(sa.delete(searches).where(searches.c.dataset == fingerprint))
    datasets = _remove_infos(connection, [fingerprint])
    if not datasets and not names:
        raise HistoryError(f"There is no dataset {fingerprint[:80]!r} in {place}; nothing was removed.")
    return Removed(datasets, tuple(sorted(names)), int(removed))


def _remove_infos(connection: sa.Connection, fingerprints: Sequence[str]) -> tuple[str, ...]:
    """Removes what is known of these datasets and returns their names."""
    from nas.metadataset import sql

    table = sql.DATASETS
    chosen = table.c.fingerprint.in_(fingerprints)
    texts = connection.scalars(sql.sa.select(table.c.info).where(chosen)).all()
    connection.execute(sql.sa.delete(table).where(chosen))
    return tuple(DatasetInfo.from_dict(loads(text)).name for text in texts)
