"""Records as flat rows of texts and numbers, the same in a database and in a pack.

Belongs here: the list of columns and the way there and back, every field checked. No SQL, no files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from nas.architecture import Architecture, Value
from nas.errors import HistoryError, NasError
from nas.record import Fidelity, Outcome, Record
from nas.record.fields import MAYBE, Kind, checked_fields, scalars

Row = dict[str, Any]

COLUMNS: Mapping[str, type] = {
    "search": str,
    "purpose": str,
    "number": int,
    "dataset": str,
    "space": str,
    "space_fingerprint": str,
    "choices": str,
    "architecture": str,
    "settings": str,
    "epochs": int,
    "rows": int,
    "splits": int,
    "seed": int,
    "metric": str,
    "status": str,
    "score": float,
    "outcome": str,
    "message": str,
    "key": str,
    "engine": str,
    "created": str,
}
"""Name and kind of each column of a record; score alone may be null; choices to outcome hold JSON where not plain."""

_KINDS: Mapping[str, Kind] = {name: (kind,) for name, kind in COLUMNS.items()} | {"score": MAYBE}
_DIGESTED = [name for name in COLUMNS if name != "message"]
_PLAIN = (
    *("search", "purpose", "number", "dataset", "space", "space_fingerprint"),
    *("seed", "metric", "key", "engine", "created"),
)
_APART = ("status", "score", "message")


def row_of(record: Record) -> Row:
    """Returns the columns of a record; equal records give equal rows."""
    outcome = record.outcome.to_dict()
    row = {name: getattr(record, name) for name in _PLAIN}
    row |= record.fidelity.to_dict() | {name: outcome.pop(name) for name in _APART}
    row["choices"] = dumps(record.choices)
    row["settings"] = dumps(record.settings)
    row["architecture"] = dumps(record.architecture.to_dict())
    row["outcome"] = dumps(outcome)
    return row


def record_of(row: Mapping[str, Any], architectures: dict[str, Architecture]) -> Record:
    """Returns the record of a row, every field checked (HistoryError); ``architectures`` remembers those parsed."""
    try:
        fields = checked_fields("record", {name: row[name] for name in COLUMNS}, _KINDS)
        fidelity = Fidelity(fields.pop("epochs"), fields.pop("rows"), fields.pop("splits"))
        outcome = Outcome.from_dict(_object(fields["outcome"]) | {name: fields.pop(name) for name in _APART})
        text = fields["architecture"]
        if text not in architectures:
            architectures[text] = Architecture.from_dict(_object(text))
        fields |= {"choices": _object(fields["choices"]), "settings": _object(fields["settings"])}
        return Record(**(fields | {"architecture": architectures[text], "outcome": outcome}), fidelity=fidelity)
    except NasError as error:
        raise _unreadable(row.get("search"), row.get("number"), error) from error


def choices_of(text: str, record: Record) -> dict[str, Value]:
    """Returns the choices of a record from their column, checked as ``record_of`` checks them."""
    try:
        return scalars("record.choices", _object(text))
    except NasError as error:
        raise _unreadable(record.search, record.number, error) from error


def _unreadable(search: object, number: object, error: Exception) -> HistoryError:
    name, reason = repr(str(search)[:80]), str(error).rstrip(".")
    return HistoryError(
        f"The record of search {name}, number {str(number)[:20]} cannot be read: {reason}; where the history is yours, "
        "`nas history forget` removes that search."
    )


def digest_of_row(row: Mapping[str, Any]) -> str:
    """Returns the sha256 hex of a row's content; the message of a failure does not count (packs leave it out)."""
    return hashlib.sha256(dumps([row[name] for name in _DIGESTED]).encode()).hexdigest()


def dumps(content: object) -> str:
    """Returns JSON content as one ASCII text; the order of keys does not count."""
    return _ENCODER.encode(content)


def loads(text: str) -> Any:
    """Returns the content of a JSON text; HistoryError where it is none (NaN and infinities are none)."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise HistoryError(f"{text[:40]!r} is not JSON: {error}.") from error


def _object(text: str) -> dict[str, Any]:
    content = loads(text)
    if not isinstance(content, dict):
        raise HistoryError(f"A JSON object was expected, but got {text[:40]!r}.")
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse)
