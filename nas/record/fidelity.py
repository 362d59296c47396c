"""``Fidelity``: how thorough an evaluation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.errors import SearchError
from nas.record.fields import INTEGER, LARGEST, plain, read


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
            value = plain(getattr(self, name))
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
        return read(cls, data, dict.fromkeys(("epochs", "rows", "splits"), INTEGER))
