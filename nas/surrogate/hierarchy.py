"""Offline: what past tasks have in common and how each deviates from it, smoothed by structure.

An exact Gaussian process on all records given (some 2,000: O(N^3) time, once), its length scales and variances fitted
on a part of them. Symbols in ``nas.surrogate``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve
from scipy.optimize import minimize

from nas.surrogate.kernel import correlation

STEPS = 25  # of L-BFGS
VARIANCES = (0.5, 0.3, 0.15)  # prior medians of s_mu, s_de, s_n, each log-normal with deviation 1
OVERALL, SPREAD = 0.7, 0.7  # log theta = log base + g + h_c; g ~ N(OVERALL, 1), h_c ~ N(0, SPREAD^2)
NOISIER = (0.0, 0.25, 0.5, 1.0)  # variance added to a task whose trainings tell less than those of the others
CHUNK = 4096  # candidates at a time


@dataclass(frozen=True)
class Smoothness:
    """What the hierarchy assumes: column weights ``theta`` [d] and the variances s_mu, s_de, s_n."""

    theta: np.ndarray
    common: float
    own: float
    noise: float

    @classmethod
    def usual(cls, base: np.ndarray) -> Smoothness:
        """Returns what is assumed where nothing was fitted; ``base`` [d] as in ``fit``."""
        return cls(base * np.exp(OVERALL), *VARIANCES)

    @classmethod
    def fit(cls, C: np.ndarray, z: np.ndarray, owner: np.ndarray, base: np.ndarray) -> Smoothness:
        """Returns the most probable smoothness given records C [N, d], z [N]; some 500 records suffice.

        Args:
            C: Columns.
            z: Normal scores.
            owner: Task of each record.
            base: [d] column weights expected beforehand, up to a common factor near e^.7.
        """
        same = (owner[:, None] == owner[None, :]).astype(float)
        start = np.concatenate([np.log(VARIANCES), [OVERALL], np.zeros(C.shape[1])])
        found = minimize(
            _objective, start, args=(C, z, same, base), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}
        )
        common, own, noise = np.exp(found.x[:3])
        return cls(base * np.exp(found.x[3] + found.x[4:]), float(common), float(own), float(noise))


def _objective(
    p: np.ndarray, C: np.ndarray, z: np.ndarray, same: np.ndarray, base: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus log posterior density of p = (log variances, g, h), and its gradient."""
    common, own, noise = np.exp(p[:3])
    theta = base * np.exp(p[3] + p[4:])
    K = correlation(C, C, theta)
    weight = common + own * same
    A = weight * K + (noise + 1e-6) * np.eye(len(z))
    L = np.linalg.cholesky(A)
    inverse = cho_solve((L, True), np.eye(len(z)), check_finite=False)
    alpha = inverse @ z
    G = 0.5 * (inverse - np.outer(alpha, alpha))  # derivative by A
    GK = G * K
    W = GK * weight
    by_theta = -2.0 * (W.sum(axis=1) @ C - np.einsum("ic,ic->c", C, W @ C))  # |x - y| = x + y - 2xy
    gradient = np.concatenate(
        [[common * GK.sum(), own * (GK * same).sum(), noise * np.trace(G)], [by_theta @ theta], by_theta * theta]
    )
    off = np.concatenate([p[:3] - np.log(VARIANCES), [p[3] - OVERALL], p[4:] / SPREAD])
    gradient += np.concatenate([off[:4], off[4:] / SPREAD])
    value = 0.5 * z @ alpha + np.log(np.diag(L)).sum() + 0.5 * off @ off
    return float(value), gradient


@dataclass(frozen=True)
class LeftOut:
    """One past task as a new one: its records' places ``rows`` [n], and what all tasks of other groups say of them.

    ``heads`` [1 + T, n] as ``Hierarchy.heads`` gives them; tasks of the same group are 0. ``others``: their number.
    """

    task: int
    rows: np.ndarray
    heads: np.ndarray
    others: int


@dataclass(frozen=True)
class Hierarchy:
    """N records of T tasks, sorted by task, under a ``Smoothness``.

    Attributes:
        C: [N, d] of zeros and ones.
        z: [N]
        owner: [N] ascending, every task of 0..T-1 at least once.
        group: [T]
        smoothness: What is assumed.
        alpha: [N] A^-1 z.
    """

    C: np.ndarray
    z: np.ndarray
    owner: np.ndarray
    group: np.ndarray
    smoothness: Smoothness
    alpha: np.ndarray

    @classmethod
    def of(
        cls, C: np.ndarray, z: np.ndarray, owner: np.ndarray, group: np.ndarray, smoothness: Smoothness
    ) -> Hierarchy:
        """Returns the hierarchy given the records, O(N^3)."""
        L = _factor(C, owner, smoothness)
        return cls(C, z, owner, group, smoothness, cho_solve((L, True), z, check_finite=False))

    @property
    def tasks(self) -> int:
        return len(self.group)

    def heads(self, Q: np.ndarray) -> np.ndarray:
        """Returns E mu (row 0) and E delta_t (row 1 + t) at Q [m, d], float32 [1 + T, m]."""
        C, theta = self.C.astype(np.float32), self.smoothness.theta.astype(np.float32)
        alpha, starts = self.alpha.astype(np.float32), np.searchsorted(self.owner, np.arange(self.tasks))
        found = np.empty((1 + self.tasks, len(Q)), dtype=np.float32)
        for at in range(0, len(Q), CHUNK):
            some = slice(at, at + CHUNK)
            K = correlation(C, Q[some].astype(np.float32), theta)
            K *= alpha[:, None]
            each = np.add.reduceat(K, starts, axis=0)
            found[0, some] = self.smoothness.common * each.sum(axis=0)
            found[1:, some] = self.smoothness.own * each
        return found

    @cached_property
    def correlations(self) -> np.ndarray:
        """k between all records, [N, N]."""
        return correlation(self.C, self.C, self.smoothness.theta)

    @cached_property
    def inverse(self) -> np.ndarray:
        """B = A^-1, [N, N]."""
        L = _factor(self.C, self.owner, self.smoothness)
        return cho_solve((L, True), np.eye(len(self.z)), check_finite=False)

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

    def left_out(self) -> Iterator[LeftOut]:
        """Yields every task that other groups can say something about, as if it were new.

        From one inverse: without the records F, alpha_R becomes alpha_R - B_RF B_FF^-1 alpha_F.
        """
        B = self.inverse
        for task in range(self.tasks):
            out = self.group[self.owner] == self.group[task]
            if out.all():
                continue
            F, R, own = np.flatnonzero(out), np.flatnonzero(~out), np.flatnonzero(self.owner == task)
            alpha = self.alpha[R] - B[np.ix_(R, F)] @ np.linalg.solve(B[np.ix_(F, F)], self.alpha[F])
            K = self.correlations[np.ix_(R, own)] * alpha[:, None]
            present, starts = np.unique(self.owner[R], return_index=True)
            heads = np.zeros((1 + self.tasks, len(own)))
            heads[1 + present] = np.add.reduceat(K, starts, axis=0)
            heads[0] = self.smoothness.common * heads.sum(axis=0)
            heads[1:] *= self.smoothness.own
            yield LeftOut(task, own, heads, len(set(self.owner[R].tolist())))


def _factor(C: np.ndarray, owner: np.ndarray, s: Smoothness) -> np.ndarray:
    A = correlation(C, C, s.theta) * (s.common + s.own * (owner[:, None] == owner[None, :]))
    A[np.diag_indices(len(A))] += s.noise + 1e-6
    return np.linalg.cholesky(A)
