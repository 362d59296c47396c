"""The values a history is made of: how thoroughly something was trained, what came out, and on which data.

Belongs here: frozen values, checked at birth, equal by content, with ``to_dict``/``from_dict`` (plain JSON types,
nothing executed, unknown keys refused). Does not belong here: files and databases (``nas.metadataset``), training
(``nas.training``).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, cast, get_args

from nas.architecture import Architecture, Value
from nas.errors import HistoryError, NasError, SearchError, nearest

Status = Literal["complete", "diverged", "oom", "timeout", "error"]
Purpose = Literal["screen", "confirm"]

SCHEMA_VERSION = 2
"""Of everything stored: raised whenever a field of this module changes its name or its meaning.

2: ``DatasetInfo.sketch``, ``SearchInfo.account``. What version 1 wrote is read as it is.
"""

STATUSES: tuple[str, ...] = get_args(Status)
PURPOSES: tuple[str, ...] = get_args(Purpose)
MESSAGE_LENGTH = 500
SKETCH_LENGTH = 1024
LARGEST = 2**63 - 1

Kind = tuple[type, ...]
TEXT: Kind = (str,)
INTEGER: Kind = (int,)
NUMBER: Kind = (int, float)
MAYBE: Kind = (int, float, type(None))
OBJECT: Kind = (dict,)
LIST: Kind = (list,)
_KIND_NAMES = {
    **{TEXT: "a text", INTEGER: "an integer", NUMBER: "a number", MAYBE: "a number or null"},
    **{OBJECT: "an object", LIST: "a list"},
}


@dataclass(frozen=True)
class Fidelity:
    """How thorough an evaluation is: epochs, training rows (both of one split) and splits, each an integer >= 1.

    Ordered componentwise: ``a <= b`` says that b is at least as thorough in every respect. The order is partial, so
    neither ``a <= b`` nor ``b <= a`` need hold.
    """

    epochs: int
    rows: int
    splits: int

    def __post_init__(self) -> None:
        for name in ("epochs", "rows", "splits"):
            value = _plain(getattr(self, name))
            if type(value) is not int or not 1 <= value <= LARGEST:
                raise SearchError(f"fidelity.{name} must be an integer >= 1, but got {value!r}.")
            object.__setattr__(self, name, value)

    def __le__(self, other: Fidelity) -> bool:
        return self.epochs <= other.epochs and self.rows <= other.rows and self.splits <= other.splits

    def __lt__(self, other: Fidelity) -> bool:
        return self <= other and self != other

    def __ge__(self, other: Fidelity) -> bool:
        return other <= self

    def __gt__(self, other: Fidelity) -> bool:
        return other < self

    def to_dict(self) -> dict[str, Any]:
        """Returns epochs, rows and splits as a JSON-ready dict."""
        return {"epochs": self.epochs, "rows": self.rows, "splits": self.splits}

    @classmethod
    def from_dict(cls, data: object) -> Fidelity:
        """Returns the fidelity that ``to_dict`` described; anything else is a HistoryError."""
        return _read(cls, data, dict.fromkeys(("epochs", "rows", "splits"), INTEGER))


@dataclass(frozen=True)
class Cost:
    """What an evaluation cost: wall seconds of all splits, FLOPs of one row forward, parameters, peak bytes, device."""

    seconds: float = 0.0
    flops: int = 0
    parameters: int = 0
    memory: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", float(self.seconds))
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise HistoryError(f"cost.seconds must be a finite number >= 0, but got {self.seconds!r}.")
        for name in ("flops", "parameters", "memory"):
            object.__setattr__(self, name, _count(f"cost.{name}", getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """Returns the five fields as a JSON-ready dict."""
        return {
            "seconds": self.seconds,
            "flops": self.flops,
            "parameters": self.parameters,
            "memory": self.memory,
            "device": self.device,
        }

    @classmethod
    def from_dict(cls, data: object) -> Cost:
        """Returns the cost that ``to_dict`` described; anything else is a HistoryError."""
        counts = dict.fromkeys(("flops", "parameters", "memory"), INTEGER)
        return _read(cls, data, {"seconds": NUMBER, "device": TEXT} | counts)


@dataclass(frozen=True)
class Outcome:
    """What came of one evaluation; a failure is an outcome too, with its status, its message and no score.

    score: higher is better; finite where status is "complete", None otherwise (HistoryError if not so).
    standard_error: of the score, from per-row losses; None where unknown.
    metrics: every standard metric on the validation rows; values that are not finite are left out.
    curve: validation score after each epoch, mean over splits, six significant digits, cut at the first value that is
        not finite. best_epochs: the best epoch of each split, counted from 1.
    message: one sentence for failures, at most 500 characters kept.
    """

    status: Status
    message: str = ""
    score: float | None = None
    standard_error: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    best_epochs: tuple[int, ...] = ()
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise HistoryError(f"status must be one of {', '.join(STATUSES)}, but got {str(self.status)[:80]!r}.")
        score = None if self.score is None else float(self.score)
        if (self.status == "complete") != (score is not None and math.isfinite(score)):
            raise HistoryError(
                f"A complete outcome has a finite score and a failed one has None, but got status {self.status!r} "
                f"with score {score!r}; a score that is not finite belongs to the status 'diverged'."
            )
        error = None if self.standard_error is None else float(self.standard_error)
        if error is not None and not (math.isfinite(error) and error >= 0):
            error = None
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "standard_error", error)
        message = str(self.message).encode(errors="replace").decode().replace("\0", "")  # what any database can hold
        object.__setattr__(self, "message", message[:MESSAGE_LENGTH])
        object.__setattr__(self, "metrics", _finite(self.metrics))
        object.__setattr__(self, "curve", _rounded(self.curve))
        object.__setattr__(self, "best_epochs", tuple(_count("best_epochs", epoch) for epoch in self.best_epochs))

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict, the cost nested."""
        return {
            "status": self.status,
            "message": self.message,
            "score": self.score,
            "standard_error": self.standard_error,
            "metrics": dict(self.metrics),
            "curve": list(self.curve),
            "best_epochs": list(self.best_epochs),
            "cost": self.cost.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: object) -> Outcome:
        """Returns the outcome that ``to_dict`` described; anything else is a HistoryError."""
        fields = checked_fields("outcome", data, _OUTCOME)
        for name in ("metrics", "curve"):
            _all_numbers(f"outcome.{name}", fields[name])
        fields["cost"] = Cost.from_dict(fields["cost"])
        return cls(**fields)


@dataclass(frozen=True)
class Record:
    """One evaluation as the history keeps it: what was tried, where, how thoroughly, and what came out.

    search and purpose and number name the place (unique); dataset is a content fingerprint; space is a name and
    space_fingerprint what it stood for; choices map decision paths to values; key is the ``evaluation_key``; created
    is an ISO 8601 time. Direction needs no field: scores are always higher-is-better.
    """

    search: str
    number: int
    dataset: str
    space: str
    space_fingerprint: str
    choices: Mapping[str, Value]
    architecture: Architecture
    settings: Mapping[str, Value]
    fidelity: Fidelity
    seed: int
    metric: str
    outcome: Outcome
    key: str
    engine: str
    created: str
    purpose: Purpose = "screen"

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise HistoryError(f"purpose must be one of {', '.join(PURPOSES)}, but got {str(self.purpose)[:80]!r}.")
        for name in ("search", "dataset", "key"):
            if not getattr(self, name):
                raise HistoryError(f"record.{name} must not be empty.")
        for name in ("number", "seed"):
            object.__setattr__(self, name, _count(f"record.{name}", getattr(self, name)))
        for name in ("choices", "settings"):
            object.__setattr__(self, name, scalars(f"record.{name}", getattr(self, name)))
        _check_time("record.created", self.created)

    @property
    def score(self) -> float | None:
        """The score, higher is better; None where the evaluation failed."""
        return self.outcome.score

    @property
    def status(self) -> Status:
        """How the evaluation ended."""
        return self.outcome.status

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict; architecture, fidelity and outcome nested."""
        return {
            "search": self.search,
            "number": self.number,
            "dataset": self.dataset,
            "space": self.space,
            "space_fingerprint": self.space_fingerprint,
            "choices": dict(self.choices),
            "architecture": self.architecture.to_dict(),
            "settings": dict(self.settings),
            "fidelity": self.fidelity.to_dict(),
            "seed": self.seed,
            "metric": self.metric,
            "outcome": self.outcome.to_dict(),
            "key": self.key,
            "engine": self.engine,
            "created": self.created,
            "purpose": self.purpose,
        }

    @classmethod
    def from_dict(cls, data: object) -> Record:
        """Returns the record that ``to_dict`` described; anything else is a HistoryError."""
        fields = checked_fields("record", data, _RECORD)
        try:
            fields["architecture"] = Architecture.from_dict(fields["architecture"])
            fields["fidelity"] = Fidelity.from_dict(fields["fidelity"])
            fields["outcome"] = Outcome.from_dict(fields["outcome"])
            return cls(**fields)
        except HistoryError:
            raise
        except NasError as error:
            raise HistoryError(f"A record cannot be read: {error}") from error


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
            object.__setattr__(self, name, _count(f"dataset.{name}", getattr(self, name)))
        object.__setattr__(self, "metafeatures", _finite(self.metafeatures))
        values = tuple(_count("dataset.sketch", value) for value in self.sketch)
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
        _all_numbers("dataset.metafeatures", fields["metafeatures"])
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
            object.__setattr__(self, name, _count(f"search.{name}", getattr(self, name)))
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
        return _read(cls, {"account": {}, **data} if isinstance(data, dict) else data, _SEARCH)


@dataclass(frozen=True)
class PastDataset:
    """A dataset of the past with every record made on it."""

    info: DatasetInfo
    records: tuple[Record, ...]


def evaluation_key(
    dataset_fp: str,
    architecture_key: str,
    settings: Mapping[str, Value],
    fidelity: Fidelity,
    seed: int,
    precision: str,
    engine: str,
    metric: str = "",
) -> str:
    """Returns the sha256 hex that names an evaluation: two of one key would train the same network on the same rows.

    Every argument counts; the order in which settings are listed does not, nor whether a whole number is an int. The
    ``metric``, which chooses the best epoch, is named where it is a scorer, and empty for the default of the task.
    """
    plain = scalars("settings", settings)
    content = {
        "dataset": dataset_fp,
        "architecture": architecture_key,
        "settings": {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in plain.items()},
        "fidelity": fidelity.to_dict(),
        "seed": _count("seed", seed),
        "precision": precision,
        "engine": engine,
    }
    return digest_of(content | ({"metric": metric} if metric else {}))


def digest_of(content: object) -> str:
    """Returns the sha256 hex of JSON content; the order of keys does not count."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_SCALARS = (str, int, float, bool, type(None))
_OUTCOME: dict[str, Kind] = {
    **dict.fromkeys(("status", "message"), TEXT),
    **dict.fromkeys(("score", "standard_error"), MAYBE),
    **dict.fromkeys(("metrics", "cost"), OBJECT),
    **dict.fromkeys(("curve", "best_epochs"), LIST),
}
_RECORD: dict[str, Kind] = {
    **dict.fromkeys(("search", "dataset", "space", "space_fingerprint", "metric"), TEXT),
    **dict.fromkeys(("key", "engine", "created", "purpose"), TEXT),
    **dict.fromkeys(("number", "seed"), INTEGER),
    **dict.fromkeys(("choices", "architecture", "settings", "fidelity", "outcome"), OBJECT),
}
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


def _read(cls: type[Any], data: object, kinds: Mapping[str, Kind]) -> Any:
    """Returns ``cls`` of the checked fields; a rule broken at its birth is a HistoryError too."""
    try:
        return cls(**checked_fields(cls.__name__.lower(), data, kinds))
    except SearchError as error:
        raise HistoryError(str(error)) from error


def checked_fields(what: str, data: object, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Returns a copy of ``data`` if it is a dict of exactly these keys and kinds, integers within 64 bits."""
    if not isinstance(data, dict):
        raise HistoryError(f"A {what} is read from a JSON object, but got {type(data).__name__}.")
    if data.keys() != kinds.keys():
        for key in data.keys() - kinds.keys():
            raise HistoryError(
                f"A {what} has no field {str(key)[:80]!r};{nearest(key, kinds)} it has {', '.join(kinds)}."
            )
        raise HistoryError(f"A {what} lacks the field {min(kinds.keys() - data.keys())!r}.")
    for key, value in data.items():
        if type(value) not in kinds[key] or (type(value) is int and abs(value) > LARGEST):
            raise HistoryError(f"{what}.{key} must be {_KIND_NAMES[kinds[key]]}, but got {str(value)[:80]!r}.")
    return dict(data)


def _plain(value: object) -> object:
    """Returns a numpy scalar as the Python value it stands for, anything else unchanged."""
    return value.item() if hasattr(value, "item") else value


def _count(name: str, value: object) -> int:
    value = _plain(value)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise HistoryError(f"{name} must be an integer from 0 to 2**63 - 1, but got {str(value)[:80]!r}.")
    return value


def scalars(name: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Returns a plain dict of text -> text, finite number, truth value or None; HistoryError otherwise."""
    result: dict[str, Value] = {}
    for key, item in values.items():
        value = item if type(item) in _SCALARS else _plain(item)
        if not isinstance(key, str) or type(value) not in _SCALARS:
            raise HistoryError(
                f"{name} maps texts to texts, numbers, truth values or None, but got {str(key)[:80]!r}:"
                f" {str(item)[:80]!r}."
            )
        if type(value) is float and not math.isfinite(value):
            raise HistoryError(f"{name} holds finite numbers only, but got {str(key)[:80]!r}: {str(value)[:80]!r}.")
        result[key] = cast(Value, value)
    return result


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    numbers = {str(name): float(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _rounded(curve: Iterable[float]) -> tuple[float, ...]:
    """Returns six significant digits of each value, up to the first one that is not finite."""
    values = [float(f"{value:.6g}") for value in curve]
    end = next((i for i, value in enumerate(values) if not math.isfinite(value)), len(values))
    return tuple(values[:end])


def _all_numbers(what: str, values: Mapping[str, object] | list[object]) -> None:
    numbers = list(values.values()) if isinstance(values, dict) else list(values)
    if not ({type(value) for value in numbers} <= set(NUMBER) and _are_finite(numbers)):
        raise HistoryError(f"{what} must hold finite numbers, but got {str(numbers)[:80]}.")


def _are_finite(numbers: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:  # an integer beyond every float
        return False


def _check_time(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise HistoryError(
            f"{name} must be an ISO 8601 time such as 2026-11-22T12:00:00+00:00, but got {str(text)[:80]!r}."
        ) from error
