"""Records as they lie in a history, parsed where they are looked at: a search reads all of the past, little of each.

Belongs here: ``StoredRecord``, which is a ``Record`` in every respect, and ``StoredPast``, a ``PastDataset`` whose
records stay in the database until someone asks for them. A history of 100,000 records opens in seconds because learning
curves, costs and choices stay texts until then; what is unsound in such a text is a HistoryError at that moment.
Writing, packs and ``MetaDataset.records`` check every field at once (``rows``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from nas.architecture import Architecture
from nas.errors import HistoryError
from nas.metadataset.rows import COLUMNS, choices_of, digest_of_row, dumps, record_of, row_of
from nas.record import PURPOSES, STATUSES, DatasetInfo, Fidelity, PastDataset, Record, Status

_NAMES = tuple(COLUMNS)
_PLACE = {name: index for index, name in enumerate(_NAMES)}
_LATER = ("choices", "architecture", "settings", "outcome")
_NOW = tuple(
    (name, _PLACE[name]) for name in _NAMES if name in {field.name for field in fields(Record)} and name not in _LATER
)
_FIDELITY = slice(_PLACE["epochs"], _PLACE["splits"] + 1)
_REPEATED = frozenset(
    index for name, index in _PLACE.items() if COLUMNS[name] is str and name not in ("key", "outcome", "message")
)
_KINDS = {
    tuple(COLUMNS.values()),
    tuple(type(None) if name == "score" else kind for name, kind in COLUMNS.items()),
}


class StoredRecord(Record):
    """A record of a row; made by ``Stored``. Equal to the ``Record`` of the same content, and pickled as one."""

    def __getattr__(self, name: str) -> Any:
        if name not in _LATER or "_values" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        content = self.__dict__
        if name == "choices":  # all that is asked of most records: a twentieth of the time for the whole
            content[name] = choices_of(content["_values"][_PLACE[name]], self)
            return content[name]
        whole = record_of(dict(zip(_NAMES, content["_values"], strict=True)), content["_architectures"])
        content.update((later, getattr(whole, later)) for later in _LATER)
        return content[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields(Record))

    __hash__ = Record.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, tuple(getattr(self, field.name) for field in fields(Record))

    @property
    def score(self) -> float | None:
        """The score, higher is better; None where the evaluation failed."""
        values = self.__dict__.get("_values")
        return self.outcome.score if values is None else values[_PLACE["score"]]

    @property
    def status(self) -> Status:
        """How the evaluation ended."""
        values = self.__dict__.get("_values")
        return self.outcome.status if values is None else values[_PLACE["status"]]


class Stored:
    """Makes records of rows; what repeats is kept once. ``architectures`` remembers those parsed, by their JSON."""

    def __init__(self, architectures: dict[str, Architecture]) -> None:
        self._architectures = architectures
        self._texts: dict[str, str] = {}
        self._fidelities: dict[tuple[Any, ...], Fidelity] = {}

    def record(self, row: Sequence[Any]) -> Record:
        """Returns the record of values in the order of ``COLUMNS``; HistoryError where a plain one is unsound.

        Values that hold JSON are checked when they are looked at.
        """
        if not _is_sound(row):
            record_of(dict(zip(_NAMES, row, strict=True)), self._architectures)  # says what is wrong
        known = self._texts
        values = tuple(known.setdefault(v, v) if i in _REPEATED else v for i, v in enumerate(row))
        made = object.__new__(StoredRecord)
        content = made.__dict__
        content.update((name, values[index]) for name, index in _NOW)
        content["fidelity"] = self._fidelity(values[_FIDELITY])
        content["_values"] = values
        content["_architectures"] = self._architectures
        return made

    def _fidelity(self, numbers: tuple[Any, ...]) -> Fidelity:
        if numbers not in self._fidelities:
            self._fidelities[numbers] = Fidelity(*numbers)
        return self._fidelities[numbers]


class StoredPast(PastDataset):
    """A dataset of the past with records that are read when they are looked at; made by ``stored``.

    Equal to the ``PastDataset`` of the same content, and pickled as one.
    """

    def __getattr__(self, name: str) -> Any:
        if name != "records" or "_read" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        records = in_order(self.__dict__["_read"](self.info.fingerprint))
        if len(records) != self.__dict__["_count"]:
            raise HistoryError(f"the history was changed while {self.info.name!r} was read from it; do this again.")
        self.__dict__["records"] = records
        return records

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PastDataset):
            return NotImplemented
        return self.info == other.info and self.records == other.records

    __hash__ = PastDataset.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return PastDataset, (self.info, self.records)


def stored(
    infos: Iterable[DatasetInfo], digests: Mapping[str, Sequence[str]], read: Callable[[str], Sequence[Record]]
) -> list[PastDataset]:
    """Returns each dataset that has records, by fingerprint.

    Args:
        infos: What is known of datasets.
        digests: Of the records of each dataset, by fingerprint.
        read: Returns the records of a dataset in any order.
    """
    known, found = {info.fingerprint: info for info in infos}, []
    for fingerprint in sorted(known.keys() & digests.keys()):
        made = object.__new__(StoredPast)
        info, content = known[fingerprint], made.__dict__
        content.update(info=info, _read=read, _count=len(digests[fingerprint]))
        content["_digest"] = _digest(info, digests[fingerprint])
        found.append(made)
    return list[PastDataset](found)


def digest_of_past(past: PastDataset) -> str:
    """Returns what two past datasets share exactly if their descriptions and their records are equal.

    Of what lies in a database it is known without reading the records.
    """
    if "_digest" not in past.__dict__:
        past.__dict__["_digest"] = _digest(past.info, [digest_of_row(_row(record)) for record in past.records])
    return str(past.__dict__["_digest"])


def count_of(past: PastDataset) -> int:
    """Returns how many records a past dataset has; of what lies in a database, without reading them."""
    return past.__dict__["_count"] if "_count" in past.__dict__ else len(past.records)


def _digest(info: DatasetInfo, digests: Sequence[str]) -> str:
    """As ``MetaDataset.snapshot`` has it: in whatever order records came."""
    total = sum(int(digest, 16) for digest in digests) % 2**256
    return hashlib.sha256(f"{len(digests)}:{total}:{dumps(info.to_dict())}".encode()).hexdigest()


def _row(record: Record) -> Mapping[str, Any]:
    values = record.__dict__.get("_values")
    return row_of(record) if values is None else dict(zip(_NAMES, values, strict=True))


def in_order(records: Iterable[Record]) -> tuple[Record, ...]:
    """Returns records of one dataset in an order that depends on the content alone."""
    return tuple(sorted(records, key=lambda record: (record.search, record.number, record.purpose)))


def grouped(infos: Iterable[DatasetInfo], records: Iterable[Record]) -> list[PastDataset]:
    """Returns each dataset that has records with them, in an order that depends on the content alone."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.dataset, []).append(record)
    known = {info.fingerprint: info for info in infos}
    return [PastDataset(known[name], in_order(found[name])) for name in sorted(known) if name in found]


def together(first: Sequence[PastDataset], second: Sequence[PastDataset]) -> list[PastDataset]:
    """Returns the datasets of both, those of ``first`` first; what both have of one is there once."""
    found = {each.info.fingerprint: each for each in first}
    for each in second:
        known = found.get(each.info.fingerprint)
        if known is not None:
            held = {(r.search, r.purpose, r.number, r.key) for r in known.records}
            new = tuple(r for r in each.records if (r.search, r.purpose, r.number, r.key) not in held)
            each = PastDataset(known.info if known.info.sketch else each.info, known.records + new)
        found[each.info.fingerprint] = each
    return list(found.values())


def _is_sound(row: Sequence[Any]) -> bool:
    """Returns whether kinds, words and score are those of a record, and numbers at least what they must be."""
    if tuple(map(type, row)) not in _KINDS:
        return False
    status, score = row[_PLACE["status"]], row[_PLACE["score"]]
    return (
        row[_PLACE["purpose"]] in PURPOSES
        and status in STATUSES
        and (status == "complete") == (score is not None and math.isfinite(score))
        and min(row[_PLACE["number"]], row[_PLACE["seed"]]) >= 0
        and min(row[_FIDELITY]) >= 1
    )
