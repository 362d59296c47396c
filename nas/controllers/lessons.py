"""What can be learned from: records of past datasets as lessons, each ranked within itself.

Belongs here: which records are comparable, who is left out and why. Not here: models (``nas.controllers.prior``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas.controllers.base import identity
from nas.controllers.curves import at_full_length
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from nas.controllers.base import Problem
    from nas.record import DatasetInfo, PastDataset, Record
    from nas.space import Choices, SearchSpace

FEWEST_RECORDS = 5  # of a past dataset, to be ranked
ELSEWHERE = "another search space"
Scored: TypeAlias = "list[tuple[Record, float | None]]"  # trainings and what they came to, None where they diverged


@dataclass(frozen=True)
class Lesson:
    """Trainings of one past dataset that can be compared with each other, best first.

    Attributes:
        name: Of the dataset; with its fidelity where there are lessons of several.
        fingerprint: Of the dataset.
        group: Equal where two lessons describe the same data.
        metafeatures: Of the dataset.
        choices: [n] in the space of the running search, decisions that were not asked then at their default.
        scores: [n] normal scores.
        records: [n] what was trained.
        here: Whether it was trained in the space of the running search, or an earlier form of it.
        named: What was the best on fresh splits, and so was handed to the user; None where nothing was confirmed.
    """

    name: str
    fingerprint: str
    group: str
    metafeatures: Mapping[str, float]
    choices: tuple[Choices, ...]
    scores: np.ndarray
    records: tuple[Record, ...]
    here: bool = True
    named: Choices | None = None

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
            records=tuple(self.records[i] for i in kept),
        )


def lessons(problem: Problem) -> tuple[list[Lesson], dict[str, str]]:
    """Returns the lessons of the past, those of other spaces included, and why, by name, others teach nothing."""
    found: list[Lesson] = []
    ignored: dict[str, str] = {}
    names = Counter(past.info.name for past in problem.past)
    contents: dict[str, str] = {}
    for past in problem.past:
        info = past.info
        name = info.name if names[info.name] == 1 and info.name else f"{info.name} ({info.fingerprint[:6]})"
        taught, reason = _of(name, past, problem.space)
        for lesson in taught:
            content = _content(lesson)
            if content in contents:
                ignored[name] = f"a copy of {contents[content]}"
            else:
                contents[content] = name
                found.append(lesson)
        if not taught and past.records:
            ignored[name] = reason
    return found, ignored


def comparable(records: Sequence[Record]) -> list[Scored]:
    """Returns groups of one metric and schedule, the largest first, of what scored or diverged, with their scores.

    What a machine refused says nothing of the network, and is left out. What a search stopped early is ranked among
    those that went on, at the score expected of it at full length; among each other the stopped would look like
    winners.
    """
    kept = [record for record in records if record.status in ("complete", "diverged")]
    searches: dict[object, list[int]] = {}
    for i, record in enumerate(kept):
        thoroughness = (record.metric, record.fidelity.rows, record.fidelity.splits)
        searches.setdefault((record.search, *thoroughness), []).append(i)
    scores, schedule = [record.score for record in kept], [record.fidelity for record in kept]
    for rows in searches.values():
        longest = max(kept[i].fidelity.epochs for i in rows)
        found, doubt = at_full_length([kept[i] for i in rows])
        for i, score, unsure in zip(rows, found, doubt, strict=True):
            if score is not None and np.isfinite(unsure):
                scores[i], schedule[i] = score, replace(schedule[i], epochs=longest)
    groups: dict[object, Scored] = {}
    for record, score, fidelity in zip(kept, scores, schedule, strict=True):
        groups.setdefault((record.metric, fidelity), []).append((record, score))
    return sorted(groups.values(), key=len, reverse=True)


def _of(name: str, past: PastDataset, space: SearchSpace) -> tuple[list[Lesson], str]:
    """The lessons of one dataset, or why there are none."""
    screened = [r for r in past.records if r.purpose == "screen"]
    here = [r for r in screened if r.space == space.name]
    taught: list[Lesson] = []
    flat = False
    for group in comparable(here or screened):
        scores = [score for _, score in group if score is not None]
        flat = flat or len(scores) >= FEWEST_RECORDS
        if len(scores) >= FEWEST_RECORDS and len(set(scores)) > 1:
            called = name if not taught else f"{name}, {_thoroughness([record for record, _ in group])}"
            lesson = _lesson(called, past.info, group, space, bool(here))
            taught.append(replace(lesson, named=_named(past.records, lesson)))
    kept = list({lesson.name: lesson for lesson in taught}.values())
    return kept, "all trainings scored the same" if flat else f"fewer than {FEWEST_RECORDS} trainings"


def _lesson(name: str, info: DatasetInfo, group: Scored, space: SearchSpace, here: bool) -> Lesson:
    scores = normal_scores(np.array([-np.inf if score is None else score for _, score in group]))
    order = np.argsort(-scores, kind="stable")
    best_first = tuple(group[i][0] for i in order)
    choices = tuple(_choices(r, space) if here else dict(r.choices) for r in best_first)
    family = info.family or info.fingerprint
    return Lesson(name, info.fingerprint, family, info.metafeatures, choices, scores[order], best_first, here)


def _named(records: Sequence[Record], lesson: Lesson) -> Choices | None:
    """What won on fresh splits, of what this lesson holds."""
    one = _longest(lesson.records)
    alike = (one.metric, one.fidelity.epochs, one.fidelity.rows)
    confirmed = [
        record
        for record in records
        if record.purpose == "confirm"
        and record.score is not None
        and (record.metric, record.fidelity.epochs, record.fidelity.rows) == alike
    ]
    if not confirmed:
        return None
    best = max(confirmed, key=lambda record: (record.score, record.key))
    for record, choices in zip(lesson.records, lesson.choices, strict=True):
        if (record.space_fingerprint, record.choices) == (best.space_fingerprint, best.choices):
            return choices
    return None


def _choices(record: Record, space: SearchSpace) -> Choices:
    """What was chosen; decisions that an older form of the space did not ask are at their default."""
    if record.space_fingerprint == space.fingerprint:
        return dict(record.choices)
    return {path: record.choices.get(path, value) for path, value in space.adapt(record.choices).items()}


def _content(lesson: Lesson) -> str:
    """A digest of what was tried and what came out, whatever the dataset is called."""
    tried = sorted(repr((identity(c), r.score)) for c, r in zip(lesson.choices, lesson.records, strict=True))
    return hashlib.sha256("\n".join(tried).encode()).hexdigest()


def _thoroughness(records: Sequence[Record]) -> str:
    record = _longest(records)
    return f"{record.metric} after {record.fidelity.epochs} epochs of {record.fidelity.rows} rows"


def _longest(records: Sequence[Record]) -> Record:
    """One that was not stopped early."""
    return max(records, key=lambda record: record.fidelity.epochs)
