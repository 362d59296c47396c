"""``Record``: one evaluation as the history keeps it, and the key by which it is known again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from nas.architecture import Architecture, Value
from nas.errors import HistoryError, NasError
from nas.record.fidelity import Fidelity
from nas.record.fields import INTEGER, OBJECT, TEXT, Kind, checked_fields, count, digest_of, scalars
from nas.record.outcome import Outcome, Status

Purpose = Literal["screen", "confirm"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
_RECORD: dict[str, Kind] = {
    **dict.fromkeys(("search", "dataset", "space", "space_fingerprint", "metric"), TEXT),
    **dict.fromkeys(("key", "engine", "created", "purpose"), TEXT),
    **dict.fromkeys(("number", "seed"), INTEGER),
    **dict.fromkeys(("choices", "architecture", "settings", "fidelity", "outcome"), OBJECT),
}


@dataclass(frozen=True)
class Record:
    """One evaluation as the history keeps it: what was tried, where, how thoroughly, and what came out.

    search and purpose and number name the place (unique); dataset is a content fingerprint; space is a name and
    space_fingerprint what it stood for; choices map decision paths to values; key is the ``evaluation_key``; created
    is an ISO 8601 time. HistoryError where search, dataset or key is empty, or a value is not of its kind. Direction
    needs no field: scores are always higher-is-better.
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
            object.__setattr__(self, name, count(f"record.{name}", getattr(self, name)))
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
        "seed": count("seed", seed),
        "precision": precision,
        "engine": engine,
    }
    return digest_of(content | ({"metric": metric} if metric else {}))


def _check_time(name: str, text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise HistoryError(
            f"{name} must be an ISO 8601 time such as 2026-11-22T12:00:00+00:00, but got {str(text)[:80]!r}."
        ) from error
