"""How records come into a history: which of them are new there, and which stand where a different one is.

A record's place is its search, its purpose and its number; what a history holds there is told by the digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.errors import HistoryError
from nas.metadataset.rows import Row, digest_of_row

if TYPE_CHECKING:
    import sqlalchemy as sa

Place = tuple[str, str, int]


def append_rows(connection: sa.Connection, history: str, rows: Sequence[Row]) -> int:
    """Keeps those rows that are not there yet and returns how many those were.

    Raises:
        HistoryError: If the dataset of one is not in the history (named ``history``), or a different one is at its
            place.
    """
    from nas.metadataset import sql

    for name in {row["dataset"] for row in rows}:
        wanted = sql.sa.select(sql.DATASETS.c.fingerprint).where(sql.DATASETS.c.fingerprint == name)
        if connection.scalar(wanted) is None:
            raise HistoryError(f"The dataset {name[:80]!r} is not in {history}; call add_dataset first.")
    new = _new_rows(connection, history, rows)
    if new:
        connection.execute(sql.sa.insert(sql.RECORDS), new)
    return len(new)


def differing(connection: sa.Connection, search: str, rows: Sequence[Row]) -> str | None:
    """Returns the digest of the first of these rows at whose place a search has other content; None if none."""
    held = _held(connection, search, [row["number"] for row in rows])
    for row in sorted(rows, key=lambda row: (row["purpose"], row["number"])):
        digest = digest_of_row(row)
        if held.get((search, row["purpose"], row["number"]), digest) != digest:
            return digest
    return None


def _new_rows(connection: sa.Connection, history: str, rows: Sequence[Row]) -> list[Row]:
    """Returns the rows not there yet, with their digest; HistoryError where a different one is at their place."""
    held: dict[Place, str] = {}
    for search in {row["search"] for row in rows}:
        held |= _held(connection, search, [row["number"] for row in rows if row["search"] == search])
    new = []
    for row in rows:
        place, digest = (row["search"], row["purpose"], row["number"]), digest_of_row(row)
        if place not in held:
            held[place] = digest
            new.append(row | {"digest": digest})
        elif held[place] != digest:
            raise HistoryError(
                f"Search {place[0]!r} has another record as number {place[2]} ({place[1]}) in {history}; "
                "call again when no other process is at this search, or give it another name."
            )
    return new


def _held(connection: sa.Connection, search: str, numbers: Sequence[int]) -> dict[Place, str]:
    """Returns the digests a search has at places from the least to the greatest of these numbers."""
    from nas.metadataset import sql

    table = sql.RECORDS
    wanted = sql.sa.select(table.c.purpose, table.c.number, table.c.digest).where(
        table.c.search == search, table.c.number >= min(numbers), table.c.number <= max(numbers)
    )
    return {(search, purpose, number): digest for purpose, number, digest in connection.execute(wanted)}
