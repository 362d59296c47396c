"""What can be learned from: records of past datasets as lessons, each ranked within itself.

Belongs here: which records are comparable, who is left out and why. Not here: models (``nas.controllers.prior``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas.controllers.curves import at_full_length
from nas.controllers.kept import Kept
from nas.controllers.lesson import Lesson
from nas.metadataset.audit import families
from nas.metadataset.lazy import count_of
from nas.space import identity
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from nas.controllers.base import Problem
    from nas.record import PastDataset, Record
    from nas.space import Choices, SearchSpace

FEWEST_RECORDS = 5  # of a past dataset, to be ranked
FORMS = 3  # of one dataset, grown or cut down, that are listened to: the latest
JUDGED = 25  # trainings from which on a lesson must show a pattern
ELSEWHERE = "another search space"
PATTERNLESS = "scores without a pattern"
SHORT = f"fewer than {FEWEST_RECORDS} trainings with a score"
Scored: TypeAlias = "list[tuple[Record, float | None]]"  # trainings and what they came to, None where they diverged


def lessons(problem: Problem) -> tuple[list[Lesson], dict[str, str]]:
    """Returns the lessons of the past, those of other spaces included, and why, by name, others teach nothing.

    What a dataset teaches is kept in the problem's folder of priors: its records are read when they have changed.
    """
    found: list[Lesson] = []
    ignored: dict[str, str] = {}
    names = Counter(past.info.name for past in problem.past)
    contents: dict[str, str] = {}
    kept = Kept(problem)
    infos = [past.info for past in problem.past]
    for past, first in zip(problem.past, families(infos), strict=True):
        info, group = past.info, infos[first].family or infos[first].fingerprint
        name = info.name if names[info.name] == 1 and info.name else f"{info.name} ({info.fingerprint[:6]})"
        taught, reason = kept.of(past, "", partial(_of, past, problem.space))
        for lesson in taught:
            if lesson.content in contents:
                ignored[name] = f"a copy of {contents[lesson.content]}"
            else:
                contents[lesson.content] = name
                found.append(replace(lesson, name=f"{name}, {lesson.part}" if lesson.part else name, group=group))
        if not taught and count_of(past):
            ignored[name] = reason
    kept.thin()
    older = _older_forms(found)
    ignored |= {
        lesson.name: f"an older form of {older[lesson.fingerprint]}" for lesson in found if lesson.fingerprint in older
    }
    return [lesson for lesson in found if lesson.fingerprint not in older], ignored


def _older_forms(found: Sequence[Lesson]) -> dict[str, str]:
    """Fingerprints of datasets of which ``FORMS`` later forms are known, with the name of the latest.

    A table that is searched every week would otherwise outvote all other datasets.
    """
    latest: dict[str, Lesson] = {}
    for lesson in found:
        known = latest.setdefault(lesson.fingerprint, lesson)
        if lesson.created > known.created:
            latest[lesson.fingerprint] = lesson
    every = list(latest.values())
    forms: dict[int, list[Lesson]] = {}
    for lesson, first in zip(every, families([replace(each.past.info, family="") for each in every]), strict=True):
        forms.setdefault(first, []).append(lesson)
    older = {}
    for some in forms.values():
        last = sorted(some, key=lambda lesson: lesson.created, reverse=True)
        older.update({lesson.fingerprint: last[0].name for lesson in last[FORMS:]})
    return older


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
                scores[i] = score
                if schedule[i].epochs < longest:
                    schedule[i] = replace(schedule[i], epochs=longest)
    groups: dict[object, Scored] = {}
    for record, score, fidelity in zip(kept, scores, schedule, strict=True):
        groups.setdefault((record.metric, fidelity), []).append((record, score))
    return sorted(groups.values(), key=len, reverse=True)


def _of(past: PastDataset, space: SearchSpace) -> tuple[list[Lesson], str]:
    """The lessons of one dataset, their names yet to be given, or why there are none."""
    screened = [r for r in past.records if r.purpose == "screen"]
    here = [r for r in screened if r.space == space.name]
    taught: dict[str, Lesson] = {}
    flat = False
    for group in comparable(here or screened):
        scores = [score for _, score in group if score is not None]
        flat = flat or len(scores) >= FEWEST_RECORDS
        if len(scores) >= FEWEST_RECORDS and len(set(scores)) > 1:
            part = _thoroughness([record for record, _ in group]) if taught else ""
            taught[part] = _lesson(part, past, group, space, bool(here))
    return list(taught.values()), "all trainings scored the same" if flat else SHORT


def _lesson(part: str, past: PastDataset, group: Scored, space: SearchSpace, here: bool) -> Lesson:
    scores = normal_scores(np.array([-np.inf if score is None else score for _, score in group]))
    order = np.argsort(-scores, kind="stable")
    records = [group[i][0] for i in order]
    choices = tuple(_choices(r, space) if here else dict(r.choices) for r in records)
    places = {id(record): row for row, record in enumerate(past.records)}
    rows = tuple(places[id(record)] for record in records)
    named = _named(past.records, records, choices)
    created = max(record.created for record in records)
    content, fidelity = _content(records, choices), _longest(records).fidelity
    examples = fidelity.rows * fidelity.epochs
    return Lesson("", part, past, choices, scores[order], rows, content, created, examples, here, named)


def _named(every: Sequence[Record], records: Sequence[Record], choices: Sequence[Choices]) -> Choices | None:
    """What won on fresh splits, of what this lesson holds."""
    one = _longest(records)
    alike = (one.metric, one.fidelity.epochs, one.fidelity.rows)
    confirmed = [
        record
        for record in every
        if record.purpose == "confirm"
        and record.score is not None
        and (record.metric, record.fidelity.epochs, record.fidelity.rows) == alike
    ]
    if not confirmed:
        return None
    best = max(confirmed, key=lambda record: (record.score, record.key))
    for record, chosen in zip(records, choices, strict=True):
        if (record.space_fingerprint, record.choices) == (best.space_fingerprint, best.choices):
            return chosen
    return None


def _choices(record: Record, space: SearchSpace) -> Choices:
    """What was chosen; decisions that an older form of the space did not ask are at their default."""
    if record.space_fingerprint == space.fingerprint:
        return dict(record.choices)
    return {path: record.choices.get(path, value) for path, value in space.adapt(record.choices).items()}


def _content(records: Sequence[Record], choices: Sequence[Choices]) -> str:
    tried = sorted(repr((identity(c), r.score)) for c, r in zip(choices, records, strict=True))
    return hashlib.sha256("\n".join(tried).encode()).hexdigest()


def _thoroughness(records: Sequence[Record]) -> str:
    record = _longest(records)
    return f"{record.metric} after {record.fidelity.epochs} epochs of {record.fidelity.rows} rows"


def _longest(records: Sequence[Record]) -> Record:
    """One that was not stopped early."""
    return max(records, key=lambda record: record.fidelity.epochs)
