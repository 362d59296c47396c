"""Online: ways of believing the past, weighed by how well each foretold the scores of the running search.

Closed form throughout: nothing is fitted, the scale c is summed over a grid, and everything else is a few Choleskys of
[n, n] shared by all beliefs with the same covariance. Symbols in ``nas.surrogate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, ndtr

NOISES = ((0.03, 0.1), (0.2, 1.0))  # nu, share of v: what the rows of a split do to all candidates alike is no noise
SCALES = np.array([0.35, 0.6, 1.0, 1.7, 3.0])  # c
LOG_SCALES = -0.5 * (np.log(SCALES) / 0.8) ** 2
HEAVIEST, FAINTEST = 12, 0.01  # parts that vote: at most, and with at least this share of the heaviest's weight
SHORT = 300  # candidates whose deviation is computed exactly


@dataclass(frozen=True)
class Belief:
    """One way of believing the past.

    Attributes:
        name: For readers.
        mass: Prior probability; those of all beliefs sum to 1.
        trust: w.
        mean: Which row of ``means``.
        deviations: a, whether past tasks' deviations are likely directions.
        new: r, the variance of what no past task shows.
        roughness: tau, equally likely.
    """

    name: str
    mass: float
    trust: float
    mean: int
    deviations: bool
    new: float
    roughness: tuple[float, ...]


@dataclass(frozen=True)
class Candidates:
    """m candidates as the beliefs see them: log k with the n observed [n, m], means [q, m], D [T, m]."""

    log_k: np.ndarray
    means: np.ndarray
    D: np.ndarray

    def take(self, rows: np.ndarray) -> Candidates:
        """Returns the candidates at ``rows``."""
        return Candidates(self.log_k[:, rows], self.means[:, rows], self.D[:, rows])


@dataclass(frozen=True)
class Observations:
    """n scores ``z`` with noise variances ``v`` at candidates ``at`` (log_k [n, n], means [q, n], D [T, n]).

    ``counted`` says which are evidence for or against a belief; all but those that history had already.
    """

    at: Candidates
    z: np.ndarray
    v: np.ndarray
    counted: np.ndarray

    def __len__(self) -> int:
        return len(self.z)

    @property
    def evidence(self) -> Observations:
        """Only those that count."""
        rows = np.flatnonzero(self.counted)
        at = Candidates(self.at.log_k[np.ix_(rows, rows)], self.at.means[:, rows], self.at.D[:, rows])
        return Observations(at, self.z[rows], self.v[rows], self.counted[rows])


@dataclass(frozen=True)
class Part:
    """A belief with one roughness tau and one noise nu, given what was observed."""

    belief: Belief
    tau: float
    weight: float
    L: np.ndarray  # [n, n] factor of S = 1 + a D'D + r k^tau + nu + v
    by_z: np.ndarray  # [n] S^-1 z
    by_mean: np.ndarray  # [n] S^-1 w mean
    c: float  # posterior mean of the scale
    c_squared: float

    def mean(self, asked: Candidates, seen: Observations) -> tuple[np.ndarray, np.ndarray]:
        """Returns E z [m] and its derivative by c [m]."""
        kind = asked.log_k.dtype.type
        b = np.stack([self.by_z, self.by_mean]).astype(kind)
        known = b.sum(axis=1)[:, None] + kind(self.belief.new) * (b @ np.exp(kind(self.tau) * asked.log_k))
        if self.belief.deviations:
            known = known + (b @ seen.at.D.T.astype(kind)) @ asked.D
        slope = -known[1]
        if self.belief.trust:
            slope = slope + kind(self.belief.trust) * asked.means[self.belief.mean]
        return known[0] + kind(self.c) * slope, slope

    def deviation(self, asked: Candidates, seen: Observations, slope: np.ndarray) -> np.ndarray:
        """Returns the standard deviation [m] of z without noise, that of the scale included; slope as by ``mean``."""
        S = 1.0 + self.belief.new * np.exp(self.tau * asked.log_k.astype(float))
        variance = np.full(S.shape[1], 1.0 + self.belief.new)
        if self.belief.deviations:
            D = asked.D.astype(float)
            S = S + seen.at.D.T.astype(float) @ D
            variance = variance + np.einsum("tm,tm->m", D, D)
        solved = solve_triangular(self.L, S, lower=True, check_finite=False)
        variance = np.maximum(variance - np.einsum("nm,nm->m", solved, solved), 1e-6)
        return np.sqrt(self.c_squared * variance + (self.c_squared - self.c**2) * slope.astype(float) ** 2)

    def bound(self, asked: Candidates, mean: np.ndarray, nearest: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Returns a quick upper bound [m] of z, in units above the best: what is far from the observed may be good."""
        kind = asked.log_k.dtype.type
        free = kind(self.belief.new) * (1 - np.exp(kind(2.0 * self.tau) * nearest)) + kind(1e-3)
        return mean + kind(self.c) * np.sqrt(free + kind(0.3 * self.belief.deviations) * spread)


def posterior(beliefs: Sequence[Belief], seen: Observations) -> list[Part]:
    """Returns every belief x roughness x noise, heaviest first; the weights sum to 1."""
    found = _parts(beliefs, seen)
    told = found if seen.counted.all() else _parts(beliefs, seen.evidence)
    logs = np.array([log + np.log(belief.mass) for belief, log in ((p.belief, log) for p, log in told)])
    weights = np.exp(logs - logsumexp(logs))
    order = np.argsort(-weights, kind="stable")
    return [
        replace(found[i][0], weight=float(weights[i]), c=told[i][0].c, c_squared=told[i][0].c_squared) for i in order
    ]


def evidence(beliefs: Sequence[Belief], seen: Observations) -> np.ndarray:
    """Returns log p(z | belief) of each of ``beliefs``."""
    place = {id(belief): i for i, belief in enumerate(beliefs)}
    found = np.full(len(beliefs), -np.inf)
    for part, log in _parts(beliefs, seen):
        i = place[id(part.belief)]
        found[i] = np.logaddexp(found[i], log)
    return found


def improvement(parts: Sequence[Part], seen: Observations, asked: Candidates, free: np.ndarray) -> np.ndarray:
    """Returns the expected improvement [m] over the best posterior mean among the observed, averaged over the parts.

    It is computed for the ``SHORT`` candidates that some part expects most of, and 0 for all others, as for those that
    are not ``free`` [m].
    """
    voting = [part for part in parts[:HEAVIEST] if part.weight >= FAINTEST * parts[0].weight]
    nearest = asked.log_k.max(axis=0)
    spread = np.einsum("tm,tm->m", asked.D, asked.D)
    best, bounds = [], np.full(len(free), -np.inf, dtype=asked.log_k.dtype)
    for part in voting:
        mean, _ = part.mean(asked, seen)
        best.append(float(part.mean(seen.at, seen)[0].max()))
        upper = part.bound(asked, mean, nearest, spread)
        bounds = np.maximum(bounds, (upper - best[-1]) / part.c)
    bounds[~free] = -np.inf
    short = np.sort(np.argsort(-bounds, kind="stable")[: min(SHORT, int(free.sum()))])
    some = asked.take(short)
    total = np.zeros(len(free))
    for part, known in zip(voting, best, strict=True):
        mean, slope = part.mean(some, seen)
        total[short] += part.weight * expected_improvement(mean, part.deviation(some, seen, slope), known)
    return total


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Returns E max(f - best, 0) [m] for f ~ N(mean, deviation^2) (Jones et al. 1998, eq. 15, for maximisation)."""
    u = (mean - best) / deviation
    density = np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi)
    return np.maximum(deviation * (u * ndtr(u) + density), 0.0)


def _parts(beliefs: Sequence[Belief], seen: Observations) -> list[tuple[Part, float]]:
    """Every belief x roughness x noise with log p(z | it) + log of its share of the belief, in a fixed order.

    Beliefs with the same covariance share one factor. In units of c the residual is z/c - w mean, so that
    z'S^-1 z, z'S^-1 mean and mean'S^-1 mean give the evidence of every c.
    """
    same: dict[tuple[bool, float, float], list[Belief]] = {}
    for belief in beliefs:
        for tau in belief.roughness:
            same.setdefault((belief.deviations, belief.new, tau), []).append(belief)
    n = len(seen)
    log_k, D = seen.at.log_k.astype(float), seen.at.D.astype(float)
    found = []
    for (deviations, new, tau), some in same.items():
        S = 1.0 + new * np.exp(tau * log_k) + (D.T @ D if deviations else 0.0)
        M = np.array([b.trust * seen.at.means[b.mean] if b.trust else np.zeros(n) for b in some], dtype=float)
        for nu, share in NOISES:
            L = np.linalg.cholesky(S + np.diag(nu + share * seen.v))
            half = solve_triangular(L, np.column_stack([seen.z, M.T]), lower=True, check_finite=False)
            by = solve_triangular(L, half, lower=True, trans=1, check_finite=False)
            zz, zm, mm = half[:, 0] @ half[:, 0], half[:, 0] @ half[:, 1:], np.sum(half[:, 1:] ** 2, axis=0)
            square = zz / SCALES**2 - 2.0 * zm[:, None] / SCALES + mm[:, None]
            logs = LOG_SCALES - n * np.log(SCALES) - np.log(np.diag(L)).sum() - 0.5 * square  # [beliefs, scales]
            totals = logsumexp(logs, axis=1)
            p = np.exp(logs - totals[:, None])
            for i, belief in enumerate(some):
                c, squared = float(p[i] @ SCALES), float(p[i] @ SCALES**2)
                part = Part(belief, tau, 0.0, L, by[:, 0], by[:, 1 + i], c, squared)
                found.append((part, float(totals[i]) - float(np.log(len(belief.roughness) * len(NOISES)))))
    return found
