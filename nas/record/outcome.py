"""``Outcome``: what came of one evaluation, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from nas.errors import HistoryError
from nas.record.fields import (
    INTEGER,
    LIST,
    MAYBE,
    NUMBER,
    OBJECT,
    TEXT,
    Kind,
    check_numbers,
    checked_fields,
    count,
    finite,
    number,
    read,
)

Status = Literal["complete", "diverged", "oom", "timeout", "error"]
STATUSES: tuple[str, ...] = get_args(Status)
MESSAGE_LENGTH = 500
_OUTCOME: dict[str, Kind] = {
    **dict.fromkeys(("status", "message"), TEXT),
    **dict.fromkeys(("score", "standard_error"), MAYBE),
    **dict.fromkeys(("metrics", "cost"), OBJECT),
    **dict.fromkeys(("curve", "best_epochs"), LIST),
}


@dataclass(frozen=True)
class Cost:
    """What an evaluation cost.

    seconds: wall time of all splits; of what was trained beside others its share, by FLOPs and nodes.
    flops: of one row forward.
    memory: the most bytes at once, the data aside: measured on a GPU (beside others its share), elsewhere estimated for
        all splits of a candidate that is alone (``nas.training.memory``; the process of a network for images may peak
        at twice as much). parameters, device: of the network.
    """

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
            object.__setattr__(self, name, count(f"cost.{name}", getattr(self, name)))

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
        return read(cls, data, {"seconds": NUMBER, "device": TEXT} | counts)


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
        score = None if self.score is None else number("score", self.score)
        if (self.status == "complete") != (score is not None and math.isfinite(score)):
            raise HistoryError(
                f"A complete outcome has a finite score and a failed one has None, but got status {self.status!r} "
                f"with score {score!r}; a score that is not finite belongs to the status 'diverged'."
            )
        error = None if self.standard_error is None else number("standard_error", self.standard_error)
        if error is not None and not (math.isfinite(error) and error >= 0):
            error = None
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "standard_error", error)
        message = str(self.message).encode(errors="replace").decode().replace("\0", "")  # what any database can hold
        object.__setattr__(self, "message", message[:MESSAGE_LENGTH])
        object.__setattr__(self, "metrics", finite(self.metrics))
        object.__setattr__(self, "curve", _rounded(self.curve))
        object.__setattr__(self, "best_epochs", tuple(count("best_epochs", epoch) for epoch in self.best_epochs))

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
            check_numbers(f"outcome.{name}", fields[name])
        fields["cost"] = Cost.from_dict(fields["cost"])
        return cls(**fields)


def _rounded(curve: Iterable[float]) -> tuple[float, ...]:
    """Returns six significant digits of each value, up to the first one that is not finite."""
    values = [float(f"{value:.6g}") for value in curve]
    end = next((i for i, value in enumerate(values) if not math.isfinite(value)), len(values))
    return tuple(values[:end])
