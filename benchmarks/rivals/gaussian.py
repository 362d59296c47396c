"""What the rivals that model share: all choices as columns, an exact Gaussian process, records as rows and scores.

Written apart from ``nas.surrogate`` on purpose: a rival shares no model with what it is compared to.

Symbols: m choices of the space, n observations, d columns, J decisions.
    k(x, x') = exp(-D / length),  D the share of decisions in which x and x' differ (ordered ones: by how much)
    y = f + e,  f ~ GP(0, k),  e ~ N(0, noise)
(length, noise) maximise the marginal likelihood on a grid (Rasmussen and Williams 2006, eq. 2.25, 2.26 and 2.30).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from nas.controllers.base import Explanation, Problem, generator
from nas.encoding import decisions, matrix
from nas.space import identity

if TYPE_CHECKING:
    from nas.record import Record
    from nas.space import Choices, Identity, SearchSpace

GRID = tuple(product((0.1, 0.2, 0.4, 0.8, 1.6), (0.001, 0.03, 0.2)))  # length, noise
FEWEST = 5  # records a past task needs
START = 5  # random evaluations before a model without history


@dataclass(frozen=True, eq=False)
class Pool:
    """Every choice of a space: B [m, d] of zeros and ones, weights [d] so that sum_c w_c |B_c - B'_c| = D, places."""

    choices: list[Choices]
    B: np.ndarray
    weights: np.ndarray
    places: dict[Identity, int]

    def distances(
        self, rows: Sequence[int] | np.ndarray, others: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Returns D between ``rows`` [n] and ``others`` [k], or all: [n, k]."""
        A = self.B[np.asarray(rows, dtype=int)]
        B = self.B if others is None else self.B[np.asarray(others, dtype=int)]
        D = (A @ self.weights)[:, None] + (B @ self.weights)[None, :] - 2.0 * (A * self.weights) @ B.T
        return np.maximum(D, 0.0)


@lru_cache(maxsize=2)
def pool(space: SearchSpace) -> Pool:
    """Returns all choices of a space that can be listed; an ordered decision has a column per step between values."""
    choices = list(space.enumerate())
    X, names = matrix([decisions(space, c) for c in choices])
    J = len(space.decisions())
    columns, weights = [], []
    for name, x in zip(names, X.T, strict=True):
        steps = np.unique(x) if "=" not in name else np.array([0.0, 1.0])
        columns += [x >= high for high in steps[1:]]
        weights += list(np.diff(steps) / J if "=" not in name else [0.5 / J])
    places = {identity(c): i for i, c in enumerate(choices)}
    return Pool(choices, np.array(columns, dtype=float).T, np.array(weights), places)


class Process:
    """A Gaussian process fitted to y [n] at distances D [n, n]."""

    def __init__(self, D: np.ndarray, y: np.ndarray) -> None:
        fits = [self._fit(D, y, length, noise) for length, noise in GRID]
        self.evidence, self.length, self.noise, self.L, self.a = max(fits, key=lambda fit: fit[0])

    def predict(self, D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [m] of f at distances D [n, m]."""
        k = np.exp(-D / self.length)
        v = solve_triangular(self.L, k, lower=True, check_finite=False)
        return k.T @ self.a, np.sqrt(np.maximum(1.0 - (v**2).sum(axis=0), 1e-12))

    def joint(self, D: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean [q] and covariance [q, q] of f at distances D [n, q], ``among`` [q, q] each other."""
        k = np.exp(-D / self.length)
        v = solve_triangular(self.L, k, lower=True, check_finite=False)
        return k.T @ self.a, np.exp(-among / self.length) - v.T @ v

    def left_out(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [n] at each observation from the others (ibid., eq. 5.12)."""
        inverse = cho_solve((self.L, True), np.eye(len(y)), check_finite=False)
        variance = 1.0 / np.diag(inverse)
        return y - self.a * variance, np.sqrt(np.maximum(variance - self.noise, 1e-12))

    @staticmethod
    def _fit(
        D: np.ndarray, y: np.ndarray, length: float, noise: float
    ) -> tuple[float, float, float, np.ndarray, np.ndarray]:
        L = np.linalg.cholesky(np.exp(-D / length) + (noise + 1e-6) * np.eye(len(y)))
        a = cho_solve((L, True), y, check_finite=False)
        return float(-0.5 * y @ a - np.log(np.diag(L)).sum()), length, noise, L, a


def standardised(y: np.ndarray) -> np.ndarray:
    """Returns y [n] with mean 0 and deviation 1."""
    return (y - y.mean()) / (y.std() or 1.0)


def normal_scores(y: np.ndarray) -> np.ndarray:
    """Returns Phi^-1((rank - 1/2) / n) of y [n], ties sharing their mean rank."""
    return ndtri((rankdata(y) - 0.5) / len(y))


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Returns E max(f - best, 0) [m], f ~ N(mean, deviation^2) (Jones et al. 1998, eq. 15)."""
    u = (mean - best) / deviation
    return deviation * (u * ndtr(u) + np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi))


class Ranking(ABC):
    """A controller that gives every choice a utility; the unseen ones of highest utility come next.

    Attributes:
        pool: All choices.
        rows, scores: What was evaluated, in order; a failure scores as the worst.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.pool = pool(problem.space)
        self.rows: list[int] = []
        self.scores: list[float] = []
        self.D = np.empty((0, len(self.pool.choices)))  # [n, m]

    @abstractmethod
    def utility(self, rng: np.random.Generator) -> np.ndarray:
        """Returns how much each choice is wanted, [m]."""

    def ask(self, count: int = 1) -> list[Choices]:
        wanted = self.utility(generator(self.problem, len(self.rows))).astype(float)
        wanted[self.rows] = -np.inf
        best = np.argpartition(-wanted, min(count, len(wanted) - 1))[:count]
        return [dict(self.pool.choices[i]) for i in best[np.argsort(-wanted[best])]]

    def tell(self, records: Sequence[Record]) -> None:
        for record in records:
            known = [s for s in self.scores if np.isfinite(s)]
            self.rows.append(self.pool.places[identity(record.choices)])
            self.scores.append(min(known, default=0.0) if record.score is None else record.score)
            self.D = np.vstack([self.D, self.pool.distances(self.rows[-1:])])

    def predict(self, choices: Sequence[Choices]) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [q] expected of choices, on the scale the model works on."""
        mean, deviation = self.expectation(generator(self.problem, len(self.rows)))
        rows = [self.pool.places[identity(c)] for c in choices]
        return mean[rows], deviation[rows]

    def expectation(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and deviation [m] expected of every choice; zero and one where nothing is modelled."""
        return np.zeros(len(self.pool.choices)), np.ones(len(self.pool.choices))

    def explain(self) -> Explanation:
        return Explanation(notes=((type(self).__doc__ or "").splitlines()[0],))

    def past(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns of every past task of this space with enough records the rows [n] and their scores [n]."""
        found = []
        for past in self.problem.past:
            pairs = [(self.pool.places.get(identity(r.choices)), r.score) for r in past.records]
            kept = [(row, score) for row, score in pairs if row is not None and score is not None]
            if len(kept) >= FEWEST:
                found.append((np.array([row for row, _ in kept]), np.array([score for _, score in kept])))
        return found

    def heads(self) -> list[tuple[Process, np.ndarray]]:
        """Returns of every past task a process fitted to its normal scores, and the rows it knows."""
        return [(Process(self.pool.distances(r, r), normal_scores(y)), r) for r, y in self.past()]
