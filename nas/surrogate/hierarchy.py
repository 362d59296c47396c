"""Offline: what past tasks have in common and how each deviates from it, smoothed by structure.

An exact Gaussian process on all records given (some 2,000: O(N^3) time, once). Symbols in ``nas.surrogate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve

from nas.surrogate.kernel import correlation
from nas.surrogate.smoothness import Smoothness, inverse_of

NOISIER = (0.0, 0.25, 0.5, 1.0)  # variance added to a task whose trainings tell less than those of the others
FAINT = 1e-6  # likeness that is always left
ROUNDING = 1e-3  # of a score
CHUNK = 4096  # candidates at a time


@dataclass(frozen=True)
class LeftOut:
    """One past task as a new one: its records' places ``rows`` [n], and what all tasks of other groups say of them.

    ``parts`` [T, n], ``expected`` [T], ``shares`` [T] as ``Hierarchy`` gives them, parts and shares of the same group
    0; ``others``: the number of other tasks.
    """

    task: int
    rows: np.ndarray
    parts: np.ndarray
    expected: np.ndarray
    shares: np.ndarray
    others: int


@dataclass(frozen=True)
class Hierarchy:
    """N records of T tasks, sorted by task, under a ``Smoothness``.

    Attributes:
        C: [N, d] of zeros and ones.
        z: [N]
        owner: [N] ascending, every task of 0..T-1 at least once.
        group: [T]
        features: [T, p]; p is 0 where tasks are not described.
        smoothness: What is assumed.
        alpha: [N] A^-1 z.
    """

    C: np.ndarray
    z: np.ndarray
    owner: np.ndarray
    group: np.ndarray
    features: np.ndarray
    smoothness: Smoothness
    alpha: np.ndarray

    @classmethod
    def of(
        cls,
        C: np.ndarray,
        z: np.ndarray,
        owner: np.ndarray,
        group: np.ndarray,
        smoothness: Smoothness,
        features: np.ndarray | None = None,
    ) -> Hierarchy:
        """Returns the hierarchy given the records, O(N^3)."""
        features = np.zeros((len(group), 0)) if features is None else features
        empty = cls(C, z, owner, group, features, smoothness, np.zeros(len(z)))
        return cls(C, z, owner, group, features, smoothness, cho_solve((empty._factor(), True), z, check_finite=False))

    @property
    def tasks(self) -> int:
        return len(self.group)

    @cached_property
    def likeness(self) -> np.ndarray:
        """k_task between all tasks, [T, T]; s_al is 0 where they are not described."""
        return self.smoothness.likeness(self.features, self.features)

    def parts(self, Q: np.ndarray) -> np.ndarray:
        """Returns what the records of every task add to an expectation at Q [m, d], k alpha, float32 [T, m]."""
        C, theta = self.C.astype(np.float32), self.smoothness.theta.astype(np.float32)
        alpha, starts = self.alpha.astype(np.float32), np.searchsorted(self.owner, np.arange(self.tasks))
        found = np.empty((self.tasks, len(Q)), dtype=np.float32)
        for at in range(0, len(Q), CHUNK):
            some = slice(at, at + CHUNK)
            K = correlation(C, Q[some].astype(np.float32), theta)
            K *= alpha[:, None]
            found[:, some] = np.add.reduceat(K, starts, axis=0)
        return found

    def expected(self, features: np.ndarray | None = None) -> np.ndarray:
        """Returns [T]: with ``parts``, the expected scores of a new task; None if nothing is known of its features [p].

        It could then be like any.
        """
        s = self.smoothness
        alike = self.likeness.mean(axis=0) if features is None else s.likeness(features[None], self.features)[0]
        return s.common + s.alike * alike

    @cached_property
    def each(self) -> np.ndarray:
        """[T, T]: with ``parts``, the expected scores of every past task."""
        s = self.smoothness
        return s.common + s.alike * self.likeness + s.own * np.eye(self.tasks)

    def shares(self, features: np.ndarray | None = None, present: np.ndarray | None = None) -> np.ndarray:
        """Returns [T] how likely a task is like each of those ``present``, as k_task says; they sum to 1."""
        there = np.ones(self.tasks, dtype=bool) if present is None else np.isin(np.arange(self.tasks), present)
        alike = np.ones(self.tasks) if features is None else self.smoothness.likeness(features[None], self.features)[0]
        alike = np.where(there, np.maximum(alike, FAINT), 0.0)
        return alike / alike.sum()

    def nearest(self, features: np.ndarray) -> float:
        """Returns k_task of a task with ``features`` [p] to the one it is most like."""
        return float(self.smoothness.likeness(features[None], self.features).max())

    @cached_property
    def correlations(self) -> np.ndarray:
        """k between all records, [N, N]."""
        return correlation(self.C, self.C, self.smoothness.theta)

    @cached_property
    def inverse(self) -> np.ndarray:
        """B = A^-1, [N, N]."""
        return inverse_of(self._factor())

    @property
    def sound(self) -> bool:
        """Whether alpha is what the records say, but for rounding."""
        return bool(np.abs(self._covariance() @ self.alpha - self.z).max() < ROUNDING)

    def evidence(self) -> np.ndarray:
        """Returns [T] log p(a task's scores | all other tasks) - log p(they are noise): below 0 noise is likelier.

        The task may be noisier than the rest, by whichever of ``NOISIER`` makes it likeliest. From one inverse: given
        the other records, those of a task F are normal with covariance B_FF^-1 and mean z_F - B_FF^-1 alpha_F (groups
        instead of single records in Rasmussen and Williams 2006, eq. 5.12). Ranks without a pattern are N(0, 1).
        """
        found = np.empty(self.tasks)
        for task in range(self.tasks):
            F = np.flatnonzero(self.owner == task)
            precision, axes = np.linalg.eigh(self.inverse[np.ix_(F, F)])
            variance = 1.0 / np.maximum(precision, 1e-12)
            off = variance * (axes.T @ self.alpha[F])
            each = [-0.5 * float(np.sum(off**2 / (variance + more) + np.log(variance + more))) for more in NOISIER]
            found[task] = max(each) + 0.5 * float(self.z[F] @ self.z[F])
        return found

    @cached_property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Every task that other groups can say something about, as if it were new.

        From one inverse: without the records F, alpha_R becomes alpha_R - B_RF B_FF^-1 alpha_F.
        """
        B, found = self.inverse, []
        for task in range(self.tasks):
            out = self.group[self.owner] == self.group[task]
            if out.all():
                continue
            F, R, own = np.flatnonzero(out), np.flatnonzero(~out), np.flatnonzero(self.owner == task)
            alpha = self.alpha[R] - B[np.ix_(R, F)] @ np.linalg.solve(B[np.ix_(F, F)], self.alpha[F])
            K = self.correlations[np.ix_(R, own)] * alpha[:, None]
            present, starts = np.unique(self.owner[R], return_index=True)
            parts = np.zeros((self.tasks, len(own)))
            parts[present] = np.add.reduceat(K, starts, axis=0)
            features = self.features[task]
            expected, shares = self.expected(features), self.shares(features, present)
            found.append(LeftOut(task, own, parts, expected, shares, len(present)))
        return tuple(found)

    def _factor(self) -> np.ndarray:
        return np.linalg.cholesky(self._covariance())

    def _covariance(self) -> np.ndarray:
        """A, [N, N]."""
        A = self.correlations * self.each[np.ix_(self.owner, self.owner)]
        A[np.diag_indices(len(A))] += self.smoothness.noise + 1e-6
        return A
