"""Lessons of other search spaces, told in the words of this one.

What two spaces share are the columns of the space-free encoding (``nas.encoding``) and decisions of the same name and
value. On these a Gaussian process is fitted to the trainings of each such dataset, and asked about random candidates of
this space; its answers then are a lesson like any other, to be believed as far as the trainings of the search confirm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve
from scipy.spatial.distance import cdist

from nas.controllers.base import identity
from nas.controllers.lessons import ELSEWHERE
from nas.encoding import matrix, space_free
from nas.surrogate import normal_scores

if TYPE_CHECKING:
    from nas.architecture import Architecture, Value
    from nas.controllers.lessons import Lesson
    from nas.space import Choices, SearchSpace

MOST_LESSONS = 8  # those with the most trainings
MOST_RECORDS = 250  # of each
ASKED = 300  # random candidates of this space
FEWEST_COLUMNS = 3  # in common, that differ between candidates on both sides


def translated(away: Sequence[Lesson], space: SearchSpace, seed: int) -> tuple[list[Lesson], dict[str, str]]:
    """Returns lessons about candidates of ``space``, and why other ones teach nothing here, by name."""
    order = sorted(away, key=lambda lesson: -len(lesson))
    ignored = {lesson.name: ELSEWHERE for lesson in order[MOST_LESSONS:]}
    if not order:
        return [], ignored
    rng = np.random.default_rng([seed, 3])
    asked = list({identity(c): c for c in (space.sample(rng) for _ in range(ASKED))}.values())
    rows = [_row(space.architecture(c), space.settings(c), c) for c in asked]
    found = []
    for lesson in order[:MOST_LESSONS]:
        told = lesson.thinned(MOST_RECORDS)
        past = [_row(r.architecture, r.settings, r.choices) for r in told.records]
        expected = _expected(past, told.scores, rows)
        if expected is None:
            ignored[lesson.name] = f"{ELSEWHERE}, with nothing in common"
        else:
            found.append(_told(lesson, asked, expected))
    return found, ignored


def _told(lesson: Lesson, asked: Sequence[Choices], expected: np.ndarray) -> Lesson:
    order = np.argsort(-expected, kind="stable")
    choices = tuple(asked[i] for i in order)
    return replace(lesson, choices=choices, scores=normal_scores(expected)[order], records=(), here=False)


def _row(architecture: Architecture, settings: Mapping[str, Value], choices: Mapping[str, Value]) -> dict[str, float]:
    named = {f"decision.{path}={value}": 1.0 for path, value in choices.items()}
    return space_free(architecture, settings) | named


def _expected(
    past: Sequence[Mapping[str, float]], z: np.ndarray, asked: Sequence[Mapping[str, float]]
) -> np.ndarray | None:
    """Expected scores of ``asked``, None where too little is shared or they would all be the same."""
    names = sorted(set().union(*past) & set().union(*asked))
    if not names:
        return None
    A, _ = matrix(past, names)
    B, _ = matrix(asked, names)
    varied = (np.ptp(A, axis=0) > 0) & (np.ptp(B, axis=0) > 0)
    if varied.sum() < FEWEST_COLUMNS:
        return None
    A, B = A[:, varied], B[:, varied]
    scale = np.concatenate([A, B]).std(axis=0)
    own, across = cdist(A / scale, A / scale, "cityblock"), cdist(B / scale, A / scale, "cityblock")
    unit = float(np.median(own)) or 1.0
    best: tuple[float, np.ndarray] | None = None
    for length, noise in product((0.5, 1.0, 2.0, 4.0), (0.1, 0.3, 0.6)):
        K = (1.0 - noise) * np.exp(-own / (length * unit)) + noise * np.eye(len(z))
        L = np.linalg.cholesky(K)
        alpha = cho_solve((L, True), z, check_finite=False)
        log = -0.5 * float(z @ alpha) - float(np.log(np.diag(L)).sum())
        if best is None or log > best[0]:
            best = log, np.exp(-across / (length * unit)) @ alpha
    assert best is not None
    return best[1] if np.ptp(best[1]) > 0 else None
