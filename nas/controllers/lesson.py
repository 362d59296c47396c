"""What one past dataset teaches: trainings of it that can be compared with each other, as plain data.

Belongs here: ``Lesson`` and what it is as JSON. How lessons are made of records is the business of ``lessons.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers.files import require
from nas.metadataset.lazy import count_of

if TYPE_CHECKING:
    from nas.record import PastDataset, Record
    from nas.space import Choices

_WORDS = {
    "part": str,
    "keys": list,
    "choices": list,
    "scores": list,
    "rows": list,
    "content": str,
    "created": str,
    "examples": int,
    "here": bool,
}
_VALUES = {str, int, float, bool, type(None)}


@dataclass(frozen=True)
class Lesson:
    """Trainings of one past dataset that can be compared with each other, best first.

    Attributes:
        name: Of the dataset; with its part where there are lessons of several.
        part: Metric and fidelity; empty for the largest lesson of a dataset.
        past: The dataset; its records are read when they are looked at.
        choices: [n] in the space of the running search, decisions that were not asked then at their default.
        scores: [n] normal scores.
        rows: [n] places of the trainings among the records of ``past``; none where ``choices`` were never trained.
        content: A digest of what was tried and what came out, whatever the dataset is called.
        created: When the last of it was trained, in ISO 8601.
        examples: How thoroughly: rows times epochs of a training that was not stopped early.
        here: Whether it was trained in the space of the running search, or an earlier form of it.
        named: What was the best on fresh splits, and so was handed to the user; None where nothing was confirmed.
        group: Equal where two lessons describe the same data: datasets of one origin, or with common rows.
    """

    name: str
    part: str
    past: PastDataset
    choices: tuple[Choices, ...]
    scores: np.ndarray
    rows: tuple[int, ...]
    content: str
    created: str
    examples: int
    here: bool = True
    named: Choices | None = None
    group: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the dataset."""
        return self.past.info.fingerprint

    @property
    def metafeatures(self) -> Mapping[str, float]:
        """Of the dataset."""
        return self.past.info.metafeatures

    @property
    def records(self) -> list[Record]:
        """[n] what was trained, read now if it was not."""
        return [self.past.records[row] for row in self.rows]

    def winners(self, most: int) -> tuple[Choices, ...]:
        """Returns the best choices, at most so many: what was handed to the user before all."""
        if self.named is None:
            return self.choices[:most]
        return (self.named, *(choices for choices in self.choices if choices != self.named))[:most]

    def __len__(self) -> int:
        return len(self.scores)

    def thinned(self, most: int) -> Lesson:
        """Returns at most ``most`` trainings, evenly over the ranks, the best and the worst among them."""
        if len(self) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self) - 1, most).round().astype(int))
        return replace(
            self,
            choices=tuple(self.choices[i] for i in kept),
            scores=self.scores[kept],
            rows=tuple(self.rows[i] for i in kept),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the lesson as JSON, without its dataset and what follows from others: its name and its group."""
        keys: dict[tuple[str, ...], int] = {}
        choices = [[keys.setdefault(tuple(c), len(keys)), *c.values()] for c in self.choices]
        return {
            "part": self.part,
            "keys": [list(each) for each in keys],
            "choices": choices,
            "scores": self.scores.tolist(),
            "rows": list(self.rows),
            "content": self.content,
            "created": self.created,
            "examples": self.examples,
            "here": self.here,
            "named": self.named,
        }

    @classmethod
    def from_dict(cls, past: PastDataset, data: Mapping[str, Any]) -> Lesson:
        """Returns the lesson about a dataset that ``to_dict`` described.

        Raises:
            ValueError, KeyError, IndexError, TypeError, AttributeError: If it is none.
        """
        require(data.keys() == {*_WORDS, "named"}, "a lesson has other parts")
        require(all(type(data[name]) is kind for name, kind in _WORDS.items()), "a part of a lesson is of another kind")
        rows, scores, named = data["rows"], np.array(data["scores"]), data["named"]
        require({*map(type, data["scores"])} == {float}, "a score is no number")
        require(bool(np.isfinite(scores).all() and (np.diff(scores) <= 0).all()), "its scores are not in order")
        choices = _choices(data["keys"], data["choices"])
        require(len(choices) == len(scores) and len(rows) in (0, len(scores)), "it has scores without choices")
        require({*map(type, rows)} <= {int}, "a place among the records is none")
        require(not rows or (min(rows) >= 0 and max(rows) < count_of(past)), "it has other records")
        require(named is None or _choices([[*named]], [[0, *named.values()]]) == (named,), "its winner is none")
        require(0 < data["examples"] < 2**63, "its trainings saw nothing, or too much")
        return cls(
            name="",
            past=past,
            choices=choices,
            scores=scores,
            rows=tuple(rows),
            named=named,
            **{name: data[name] for name in ("part", "content", "created", "examples", "here")},
        )


def _choices(keys: Sequence[Sequence[str]], rows: Sequence[Sequence[Any]]) -> tuple[Choices, ...]:
    """Values under their names; each row begins with the place of its names in ``keys``."""
    require({name.__class__ for each in keys for name in each} <= {str}, "a name is no text")
    require({value.__class__ for row in rows for value in row} <= _VALUES, "a value is none of a decision")
    require({row[0].__class__ for row in rows} <= {int} and min(row[0] for row in rows) >= 0, "a choice has no names")
    return tuple(dict(zip(keys[row[0]], row[1:], strict=True)) for row in rows)
