"""What a history keeps of a dataset and of a search, besides the records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nas.errors import HistoryError
from nas.record.fields import INTEGER, LIST, OBJECT, TEXT, Kind, check_numbers, checked_fields, count, finite, read
from nas.record.record import Record

SKETCH_LENGTH = 1024
_DATASET: dict[str, Kind] = {
    **dict.fromkeys(("fingerprint", "name", "kind", "task", "family"), TEXT),
    **dict.fromkeys(("rows", "columns", "classes", "metafeatures_version"), INTEGER),
    "metafeatures": OBJECT,
}
_SEARCH: dict[str, Kind] = {
    **dict.fromkeys(("name", "dataset", "space", "space_json", "controller"), TEXT),
    **dict.fromkeys(("snapshot_digest", "created", "finished"), TEXT),
    **dict.fromkeys(("seed", "snapshot_last"), INTEGER),
    **dict.fromkeys(("protocol", "account"), OBJECT),
}


@dataclass(frozen=True)
class DatasetInfo:
    """What a history keeps of a dataset: its fingerprint, its name as given, its sizes, its meta-features; no raw data.

    metafeatures: name -> number; values that are not finite are left out. family groups datasets of one origin.
    sketch: one-way hashes of some rows (``nas.sketch``), by which the same data grown is recognised; empty if unknown.
    """

    fingerprint: str
    name: str
    kind: str
    task: str
    rows: int
    columns: int
    classes: int
    family: str = ""
    metafeatures: Mapping[str, float] = field(default_factory=dict)
    metafeatures_version: int = 1
    sketch: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint:
            raise HistoryError("dataset.fingerprint must not be empty.")
        for name in ("rows", "columns", "classes", "metafeatures_version"):
            object.__setattr__(self, name, count(f"dataset.{name}", getattr(self, name)))
        object.__setattr__(self, "metafeatures", finite(self.metafeatures))
        values = tuple(count("dataset.sketch", value) for value in self.sketch)
        if len(values) > SKETCH_LENGTH or any(low >= high for low, high in pairwise(values)):
            raise HistoryError(f"dataset.sketch must be at most {SKETCH_LENGTH} ascending integers, each once.")
        object.__setattr__(self, "sketch", values)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict; an empty sketch is left out, as in version 1."""
        fields = {name: getattr(self, name) for name in _DATASET} | {"metafeatures": dict(self.metafeatures)}
        return fields | ({"sketch": list(self.sketch)} if self.sketch else {})

    @classmethod
    def from_dict(cls, data: object) -> DatasetInfo:
        """Returns the description that ``to_dict`` gave; anything else is a HistoryError."""
        optional = {"sketch": LIST} if isinstance(data, dict) and "sketch" in data else {}
        fields = checked_fields("dataset", data, _DATASET | optional)
        check_numbers("dataset.metafeatures", fields["metafeatures"])
        return cls(**fields)


@dataclass(frozen=True)
class SearchInfo:
    """What a history keeps of a search: enough to continue it, to replay it, and to say what it knew when it began.

    dataset: fingerprint; space_json: the space itself; protocol: metric, splits, fidelity, ...; snapshot_last and
    snapshot_digest: what history it learned from; created and finished: ISO 8601 times, finished empty while it runs;
    account: JSON that the search says of itself for reports (``nas.report.account``), no part of what it is.
    """

    name: str
    dataset: str
    space: str
    space_json: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    controller: str = ""
    snapshot_last: int = 0
    snapshot_digest: str = ""
    created: str = ""
    finished: str = ""
    account: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not self.dataset:
            raise HistoryError(
                f"A search needs a name and a dataset, but got {self.name[:80]!r} and {self.dataset[:80]!r}."
            )
        for name in ("seed", "snapshot_last"):
            object.__setattr__(self, name, count(f"search.{name}", getattr(self, name)))
        for name in ("protocol", "account"):
            try:
                text = json.dumps(getattr(self, name), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise HistoryError(f"search.{name} must hold JSON values only: {error}.") from error
            object.__setattr__(self, name, json.loads(text))

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict."""
        own = {"protocol": dict(self.protocol), "account": dict(self.account)}
        return {name: getattr(self, name) for name in _SEARCH} | own

    @classmethod
    def from_dict(cls, data: object) -> SearchInfo:
        """Returns the description that ``to_dict`` gave; anything else is a HistoryError. Older ones had no account."""
        return read(cls, {"account": {}, **data} if isinstance(data, dict) else data, _SEARCH)


@dataclass(frozen=True)
class PastDataset:
    """A dataset of the past with every record made on it."""

    info: DatasetInfo
    records: tuple[Record, ...]
