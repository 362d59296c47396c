"""Lessons of other search spaces, told in the words of this one.

What two spaces share are the columns of the space-free encoding (``nas.encoding``), decisions of the same name and
value, and the words in names of operations: ``nor_conv_3x3`` there is likely like ``conv3x3`` here. On these a Gaussian
process is fitted to the trainings of each such dataset, and asked about random candidates of this space; its answers
then are a lesson like any other, to be believed as far as the trainings of the search confirm.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve
from scipy.spatial.distance import cdist

from nas.controllers.kept import Kept
from nas.controllers.lessons import ELSEWHERE, JUDGED, PATTERNLESS
from nas.encoding import matrix, space_free
from nas.space import identity
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from nas.architecture import Architecture, Value
    from nas.controllers.base import Problem
    from nas.controllers.kept import Lessons
    from nas.controllers.lesson import Lesson
    from nas.space import Choices, SearchSpace

MOST_LESSONS = 8  # those that share most; of equals, those with the most trainings
MOST_RECORDS = 250  # of each
ASKED = 300  # random candidates of this space
FEWEST_COLUMNS = 3  # in common, that differ between candidates on both sides


def translated(away: Sequence[Lesson], problem: Problem, seed: int) -> tuple[list[Lesson], dict[str, str]]:
    """Returns lessons about candidates of the problem's space, and why others teach nothing here, by name.

    They are kept as those they are made from: trainings elsewhere are read when they have changed.
    """
    asked, kept = _Asked(problem.space, seed), Kept(problem)
    order = sorted(away, key=lambda lesson: (-asked.shared(lesson.choices), -len(lesson)))
    enough = f"{ELSEWHERE}: {MOST_LESSONS} datasets of such, with no less in common, are heard already"
    ignored: dict[str, str] = {}
    found: list[Lesson] = []
    for lesson in order:
        if len(found) >= MOST_LESSONS:
            ignored[lesson.name] = enough
            continue
        taught, reason = kept.of(lesson.past, f"told with seed {seed}: {lesson.part}", partial(_told, lesson, asked))
        found += [replace(each, name=lesson.name, group=lesson.group) for each in taught]
        if not taught:
            ignored[lesson.name] = reason
    kept.thin()
    return found, ignored


class _Asked:
    """Random candidates of a space, as choices and in the words that all spaces share."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed

    @cached_property
    def choices(self) -> list[Choices]:
        rng = np.random.default_rng([self._seed, 3])
        return list({identity(c): c for c in (self._space.sample(rng) for _ in range(ASKED))}.values())

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        return [_row(self._space.architecture(c), self._space.settings(c), c) for c in self.choices]

    @cached_property
    def _said(self) -> set[object]:
        return _said(self.choices)

    def shared(self, choices: Iterable[Choices]) -> int:
        """Returns how many decisions with a value, and how many words of values, choices elsewhere have in common."""
        return len(self._said & _said(choices))


def _told(lesson: Lesson, asked: _Asked) -> Lessons:
    """What a lesson expects of the candidates, as a lesson about them."""
    some = lesson.thinned(MOST_RECORDS)
    common = _common([_row(r.architecture, r.settings, r.choices) for r in some.records], asked.rows)
    if common is None:
        return [], f"{ELSEWHERE}, with nothing in common"
    expected, better = _expected(*common, some.scores)
    if np.ptp(expected) == 0:
        return [], f"{ELSEWHERE}, where what both have in common made no difference"
    if better <= 0 and len(some) >= JUDGED:
        return [], f"{ELSEWHERE}, {PATTERNLESS}"
    order = np.argsort(-expected, kind="stable")
    choices = tuple(asked.choices[i] for i in order)
    return [replace(lesson, choices=choices, scores=normal_scores(expected)[order], rows=(), here=False)], ""


def _row(architecture: Architecture, settings: Mapping[str, Value], choices: Mapping[str, Value]) -> dict[str, float]:
    named = {f"decision.{path}={value}": 1.0 for path, value in choices.items()}
    spoken = Counter(word for node in architecture.nodes for word in words(node.op))
    said = {f"word.{word}": math.log1p(count) for word, count in spoken.items()}
    said |= {f"decision.{path}~{word}": 1.0 for path, value in choices.items() for word in words(value)}
    return space_free(architecture, settings) | named | said


def _said(every: Iterable[Choices]) -> set[object]:
    named = {item for choices in every for item in choices.items()}
    return named | {word for _, value in named for word in words(value)}


def words(name: object) -> list[str]:
    """Returns the words of a name, none of anything else: nor, conv and 3x3 of nor_conv_3x3."""
    return re.findall(r"[^\W\d_]+|\d+(?:x\d+)*", name.lower()) if isinstance(name, str) else []


def _common(
    past: Sequence[Mapping[str, float]], asked: Sequence[Mapping[str, float]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """What past [n, c] and asked [m, c] candidates share and what differs among both; None where that is too little."""
    names = sorted(set().union(*past) & set().union(*asked))
    if not names:
        return None
    A, _ = matrix(past, names)
    B, _ = matrix(asked, names)
    varied = (np.ptp(A, axis=0) > 0) & (np.ptp(B, axis=0) > 0)
    return (A[:, varied], B[:, varied]) if varied.sum() >= FEWEST_COLUMNS else None


def _expected(A: np.ndarray, B: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores [m] expected of B, given those of A, and log p(scores) - log p(scores | noise)."""
    scale = np.concatenate([A, B]).std(axis=0)
    own, across = cdist(A / scale, A / scale, "cityblock"), cdist(B / scale, A / scale, "cityblock")
    unit = float(np.median(own)) or 1.0
    found: list[tuple[float, np.ndarray]] = []
    for length, noise in product((0.5, 1.0, 2.0, 4.0), (0.1, 0.3, 0.6)):
        K = (1.0 - noise) * np.exp(-own / (length * unit)) + noise * np.eye(len(z))
        L = np.linalg.cholesky(K)
        alpha = cho_solve((L, True), z, check_finite=False)
        log = -0.5 * float(z @ alpha) - float(np.log(np.diag(L)).sum())
        found.append((log, np.exp(-across / (length * unit)) @ alpha))
    log, expected = max(found, key=lambda each: each[0])
    return expected, log + 0.5 * float(z @ z)
