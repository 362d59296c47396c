"""What history teaches before anything is trained: fitted once, offline, kept (``stored.py``), used by many searches.

Lessons of past datasets -> columns (``steps/1``) -> a hierarchy of tasks (what they have in common, how each deviates)
-> how far which way of believing it foretells a new dataset, and which meta-features tell who is alike; both are asked
of history itself, one family left out at a time. Nothing here sees a result of the running search, and nothing of the
new dataset until ``towards``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.beliefs import ROUGH, beliefs, learned_masses, main_directions, stacked
from nas.controllers.elsewhere import translated
from nas.controllers.lesson import Lesson
from nas.controllers.lessons import ELSEWHERE, JUDGED, PATTERNLESS, lessons
from nas.controllers.noise import likely_noise
from nas.controllers.resemblance import Resemblance, learn
from nas.encoding import Steps
from nas.surrogate import Belief, Hierarchy, Kernels, Smoothness

if TYPE_CHECKING:
    from nas.controllers.base import Problem
    from nas.space import Choices

MOST_RECORDS = 2000  # of all datasets together: the hierarchy is exact, its time grows with the cube
FIT_RECORDS = 480  # of those, for the length scales
MOST_LESSONS = 400  # so that each has at least five of the records
FEWEST_FIT = 3  # of a lesson, so that where there are many, some are not asked for the length scales
REFERENCES = 400  # candidates at which the preferences of datasets are compared
WINNERS = 20  # of each dataset, kept as candidates for others
ROUNDING = 1e-6  # of a likeness
ENOUGH = 3  # datasets searched in this space, from which on those of other spaces are not asked


@dataclass(frozen=True)
class LessonInfo:
    """What is kept of a lesson: whose, the last of how many trainings was when, what was best, first the best."""

    name: str
    fingerprint: str
    group: str
    metafeatures: Mapping[str, float]
    created: str
    trainings: int
    winners: tuple[Choices, ...]
    here: bool

    @classmethod
    def of(cls, lesson: Lesson) -> LessonInfo:
        """Returns what is kept of a lesson."""
        return cls(
            name=lesson.name,
            fingerprint=lesson.fingerprint,
            group=lesson.group,
            metafeatures=dict(lesson.metafeatures),
            created=lesson.created,
            trainings=len(lesson),
            winners=lesson.winners(WINNERS),
            here=lesson.here,
        )


@dataclass(frozen=True)
class Prior:
    """What T lessons teach.

    Attributes:
        space: Name of the space.
        columns: How candidates are encoded.
        lessons: [T]
        ignored: Why other datasets teach nothing, by name.
        smoothness: Of columns; the usual one without lessons.
        hierarchy: Of the lessons' records; None without lessons.
        masses: Prior probability of each kind of belief, learned from history where it can be.
        resemblance: What meta-features are worth; None where there are too few datasets.
        directions: [., T] combinations of lessons in which most of their deviations lie.
    """

    space: str
    columns: Steps
    lessons: tuple[LessonInfo, ...]
    ignored: Mapping[str, str]
    smoothness: Smoothness
    hierarchy: Hierarchy | None
    masses: Mapping[str, float]
    resemblance: Resemblance | None
    directions: np.ndarray

    @property
    def kernels(self) -> Kernels:
        """Those of the search: as history has it and, where there is one, as if there were none."""
        usual = Smoothness.usual(self.columns.base)
        return _kernels(self.columns, [usual] if self.hierarchy is None else [self.smoothness, usual])

    @property
    def described(self) -> bool:
        """Whether what a dataset is like changes what is expected of it."""
        return self.resemblance is not None and self.resemblance.used

    def towards(self, metafeatures: Mapping[str, float], same: Collection[str] = ()) -> Expectation:
        """Returns what is expected on one dataset.

        Args:
            metafeatures: Its meta-features.
            same: Fingerprints under which it is known, as it is or as its kin: its own past is what it is most likely
                like.
        """
        features = None
        if self.resemblance is not None and self.hierarchy is not None and self.resemblance.used:
            features = self.resemblance.features(metafeatures, self.smoothness.weights)
            if features is not None and self.hierarchy.nearest(features) < self.resemblance.near - ROUNDING:
                features = None
        past = list(dict.fromkeys(lesson.fingerprint for lesson in self.lessons))
        known = [i for i, lesson in enumerate(self.lessons) if lesson.fingerprint in same]
        created = dict.fromkeys(past, "")
        for lesson in self.lessons:
            created[lesson.fingerprint] = max(created[lesson.fingerprint], lesson.created)
        known.sort(key=lambda i: (created[f := self.lessons[i].fingerprint], past.index(f), -i))
        return Expectation(self, features, tuple(known))


@dataclass(frozen=True)
class Expectation:
    """A prior turned to one dataset.

    Attributes:
        prior: What history teaches.
        features: [p] its meta-features as the hierarchy has them; None where they say nothing.
        same: Lessons of this very dataset or its kin: the latest dataset last, and of its lessons the largest.
    """

    prior: Prior
    features: np.ndarray | None
    same: tuple[int, ...]

    @property
    def tasks(self) -> int:
        return len(self.prior.lessons)

    @property
    def described(self) -> bool:
        """Whether its meta-features change what is expected."""
        return self.features is not None

    @cached_property
    def beliefs(self) -> list[Belief]:
        """The ways of believing history here; the masses sum to 1."""
        hierarchy = self.prior.hierarchy
        shares = np.zeros(0) if hierarchy is None else hierarchy.shares(self.features)
        return beliefs(shares, self.prior.masses, self.same)

    @cached_property
    def weights(self) -> np.ndarray:
        """[T] how much of what each lesson's records say is in what is expected of this dataset."""
        assert self.prior.hierarchy is not None, "without lessons nothing is weighed"
        return self.prior.hierarchy.expected(self.features)

    def means(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns ``means`` [1 + T, m], of this dataset and of each lesson's, and D [., m] at columns X [m, d]."""
        hierarchy = self.prior.hierarchy
        if hierarchy is None:
            return np.zeros((1, len(X)), dtype=np.float32), np.zeros((0, len(X)), dtype=np.float32)
        return stacked(hierarchy, hierarchy.parts(X), self.weights, self.prior.directions, self.tasks)


def fit(problem: Problem, seed: int = 0) -> Prior:
    """Returns what the past of ``problem`` teaches about its space; seconds, most of them in one Cholesky.

    Args:
        problem: Space and past; its seed and its dataset are not used.
        seed: Decides which records stand for all where there are too many.
    """
    space = problem.space
    here, away, ignored = _asked(problem)
    known = [c for lesson in here for c in lesson.choices]
    columns = Steps.of(space.decisions(), known)
    foreign, silent = translated(away, problem, seed)
    ignored |= silent
    taught = [*here, *foreign]
    usual = Smoothness.usual(columns.base)
    names = tuple(LessonInfo.of(lesson) for lesson in taught)
    empty = Prior(space.name, columns, names, ignored, usual, None, {}, None, np.zeros((0, 0)))
    if not taught:
        return empty
    hierarchy = _hierarchy(taught, columns, seed)
    patternless = _patternless(taught, hierarchy)
    if patternless:
        ignored |= {taught[t].name: PATTERNLESS for t in patternless}
        taught = [lesson for t, lesson in enumerate(taught) if t not in patternless]
        empty = replace(empty, lessons=tuple(LessonInfo.of(lesson) for lesson in taught), ignored=ignored)
        if not taught:
            return empty
        hierarchy = _hierarchy(taught, columns, seed)
    resemblance, hierarchy = learn(
        [lesson.metafeatures for lesson in taught], [lesson.group for lesson in taught], hierarchy
    )
    directions = main_directions(hierarchy.parts(_references(hierarchy.C)))
    masses = learned_masses(hierarchy, directions, _kernels(columns, [hierarchy.smoothness, usual]), seed)
    return replace(
        empty,
        smoothness=hierarchy.smoothness,
        hierarchy=hierarchy,
        masses=masses,
        resemblance=resemblance,
        directions=directions,
    )


def _asked(problem: Problem) -> tuple[list[Lesson], list[Lesson], dict[str, str]]:
    """Lessons of this space and of others that are asked, and why the rest is not, by name."""
    found, ignored = lessons(problem)
    here = [lesson for lesson in found if lesson.here]
    away = [lesson for lesson in found if not lesson.here]
    if len(here) >= ENOUGH:
        ignored |= {lesson.name: ELSEWHERE for lesson in away}
        away = []
    if len(here) > MOST_LESSONS:
        largest = sorted(here, key=lambda lesson: -len(lesson))
        ignored |= {lesson.name: f"{MOST_LESSONS} others have more trainings" for lesson in largest[MOST_LESSONS:]}
        kept = {id(lesson) for lesson in largest[:MOST_LESSONS]}
        here = [lesson for lesson in here if id(lesson) in kept]
    return here, away, ignored


def _hierarchy(taught: Sequence[Lesson], columns: Steps, seed: int) -> Hierarchy:
    rng = np.random.default_rng([seed, 1])
    most = MOST_RECORDS // len(taught)
    orders = [rng.permutation(len(lesson))[:most] for lesson in taught]
    C = np.concatenate(
        [columns.encode([lesson.choices[i] for i in o]) for lesson, o in zip(taught, orders, strict=True)]
    )
    z = np.concatenate([lesson.scores[o] for lesson, o in zip(taught, orders, strict=True)])
    owner = np.repeat(np.arange(len(taught)), [len(o) for o in orders])
    group = np.unique([lesson.group for lesson in taught], return_inverse=True)[1]
    each = max(FIT_RECORDS // len(taught), FEWEST_FIT)
    asked = np.unique(np.linspace(0, len(taught) - 1, min(len(taught), FIT_RECORDS // each)).round().astype(int))
    some = np.concatenate([np.flatnonzero(owner == t)[:each] for t in asked])
    C = C.astype(float)
    smoothness = Smoothness.fit(C[some], z[some], owner[some], columns.base)
    return Hierarchy.of(C, z, owner, group, smoothness)


def _patternless(taught: Sequence[Lesson], hierarchy: Hierarchy) -> set[int]:
    """Lessons whose scores are likelier noise than a task like the others: shuffled, or junk. The short ones pass."""
    judged = np.flatnonzero(np.bincount(hierarchy.owner, minlength=hierarchy.tasks) >= JUDGED)
    examples = np.array([lesson.examples for lesson in taught], dtype=float)[judged]
    return set(judged[likely_noise(hierarchy.evidence()[judged], examples)].tolist())


def _kernels(columns: Steps, smoothness: Sequence[Smoothness]) -> Kernels:
    return Kernels([one.theta for one in smoothness], columns.counts, ROUGH)


def _references(C: np.ndarray) -> np.ndarray:
    unique = np.unique(C, axis=0)
    return unique[np.unique(np.linspace(0, len(unique) - 1, REFERENCES).round().astype(int))]
