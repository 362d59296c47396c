"""Online: ways of believing the past, weighed by how well each foretold the scores of the running search.

Closed form throughout: nothing is fitted, the scale c is summed over a grid, and everything else is a few Choleskys of
[n, n] shared by all beliefs with the same covariance. Symbols in ``nas.surrogate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtrs
from scipy.special import ndtr

NOISES = ((0.03, 0.1), (0.2, 1.0))  # nu, share of v: what the rows of a split do to all candidates alike is no noise
SCALES = np.array([0.35, 0.6, 1.0, 1.7, 3.0, 5.0, 8.5])  # c; large where all that was tried is about as good
LOG_SCALES = -0.5 * (np.log(SCALES) / 0.8) ** 2
HEAVIEST, FAINTEST = 12, 0.01  # parts that vote: at most, and with at least this share of the heaviest's weight
FORGOTTEN = 1e-6  # weight, in shares of the heaviest, below which a part is dropped
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
        kernels: Which k, equally likely.
    """

    name: str
    mass: float
    trust: float
    mean: int
    deviations: bool
    new: float
    kernels: tuple[int, ...]


@dataclass(frozen=True)
class Candidates:
    """m candidates as the beliefs see them: k with the n observed [kernels, n, m], means [q, m], D [T, m]."""

    k: np.ndarray
    means: np.ndarray
    D: np.ndarray

    def take(self, rows: np.ndarray) -> Candidates:
        """Returns the candidates at ``rows``."""
        return Candidates(self.k[:, :, rows], self.means[:, rows], self.D[:, rows])


@dataclass(frozen=True)
class Observations:
    """n scores ``z`` with noise variances ``v`` at candidates ``at`` (k [kernels, n, n], means [q, n], D [T, n]).

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
        at = Candidates(self.at.k[:, rows][:, :, rows], self.at.means[:, rows], self.at.D[:, rows])
        return Observations(at, self.z[rows], self.v[rows], self.counted[rows])


@dataclass(frozen=True)
class Part:
    """A belief with one kernel and one noise nu, given what was observed."""

    belief: Belief
    kernel: int  # one of the belief's
    weight: float
    L: np.ndarray  # [n, n] factor of S = 1 + a D'D + r k + nu + v
    by_z: np.ndarray  # [n] S^-1 z
    by_mean: np.ndarray  # [n] S^-1 w mean
    c: float  # posterior mean of the scale
    c_squared: float
    nu: float

    def mean(self, asked: Candidates, seen: Observations) -> tuple[np.ndarray, np.ndarray]:
        """Returns E z [m] and its derivative by c [m]."""
        return _means([self], asked, seen)[0]

    def deviation(self, asked: Candidates, seen: Observations, slope: np.ndarray) -> np.ndarray:
        """Returns the standard deviation [m] of z without noise, that of the scale included; slope as by ``mean``."""
        S = 1.0 + self.belief.new * asked.k[self.kernel].astype(float)
        variance = np.full(S.shape[1], 1.0 + self.belief.new)
        if self.belief.deviations:
            D = asked.D.astype(float)
            S = S + seen.at.D.T.astype(float) @ D
            variance = variance + np.einsum("tm,tm->m", D, D)
        solved = _solved(self.L, S)
        variance = np.maximum(variance - np.einsum("nm,nm->m", solved, solved), 1e-6)
        return np.sqrt(self.c_squared * variance + (self.c_squared - self.c**2) * slope.astype(float) ** 2)

    def bound(self, asked: Candidates, mean: np.ndarray, nearest: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Returns a quick upper bound [m] of z, in units above the best: what is far from the observed may be good."""
        kind = asked.k.dtype.type
        free = kind(self.belief.new) * (1 - nearest**2) + kind(1e-3)
        return mean + kind(self.c) * np.sqrt(free + kind(0.3 * self.belief.deviations) * spread)


def posterior(beliefs: Sequence[Belief], seen: Observations) -> list[Part]:
    """Returns every belief x kernel x noise, heaviest first, those of no weight left out; the weights sum to 1."""
    blocks = _blocks(beliefs, seen)
    told = blocks if seen.counted.all() else _blocks(beliefs, seen.evidence)
    logs = np.concatenate([block.logs + np.log([b.mass for b in block.beliefs]) for block in told])
    weights = np.exp(logs - logs.max())
    weights = np.where(weights < FORGOTTEN, 0.0, weights)
    weights /= weights.sum()
    places = [(block, other, i) for block, other in zip(blocks, told, strict=True) for i in range(len(block.beliefs))]
    found = []
    for at in np.argsort(-weights, kind="stable"):
        if weights[at] == 0.0:
            break
        block, other, i = places[at]
        by_z, by_mean = block.by[:, 0], block.by[:, 1 + i]
        c, squared = float(other.c[i]), float(other.c_squared[i])
        found.append(
            Part(block.beliefs[i], block.kernel, float(weights[at]), block.L, by_z, by_mean, c, squared, block.nu)
        )
    return found


def evidence(beliefs: Sequence[Belief], seen: Observations) -> np.ndarray:
    """Returns log p(z | belief) of each of ``beliefs``, all of them different objects."""
    place = {id(belief): i for i, belief in enumerate(beliefs)}
    found = np.full(len(beliefs), -np.inf)
    for block in _blocks(beliefs, seen):
        at = [place[id(belief)] for belief in block.beliefs]
        found[at] = np.logaddexp(found[at], block.logs)
    return found


def improvement(parts: Sequence[Part], seen: Observations, asked: Candidates, free: np.ndarray) -> np.ndarray:
    """Returns the expected improvement [m] of the score over the best observed, averaged over the parts.

    A score is f and what is the candidate's own, of variance nu, which is kept when the network is. Known noise v is
    not: what is to be beaten is expected without it. To each part its best candidate is worth 1, so that none is loud
    for its large scale c alone.

    It is computed for the ``SHORT`` candidates that some part expects most of, and 0 for all others, as for those that
    are not ``free`` [m].
    """
    voting = [part for part in parts[:HEAVIEST] if part.weight >= FAINTEST * parts[0].weight]
    nearest = asked.k.max(axis=1)
    spread = np.einsum("tm,tm->m", asked.D, asked.D)
    best = [
        float((mean + part.nu * (part.by_z - part.c * part.by_mean)).max())
        for part, (mean, _) in zip(voting, _means(voting, seen.at, seen), strict=True)
    ]
    bounds = np.full(len(free), -np.inf, dtype=asked.k.dtype)
    for part, known, (mean, _) in zip(voting, best, _means(voting, asked, seen), strict=True):
        bounds = np.maximum(bounds, (part.bound(asked, mean, nearest[part.kernel], spread) - known) / part.c)
    bounds[~free] = -np.inf
    count = min(SHORT, int(free.sum()))
    short = np.sort(np.argpartition(-bounds, count - 1)[:count])
    some = asked.take(short)
    total = np.zeros(len(free))
    for part, known, (mean, slope) in zip(voting, best, _means(voting, some, seen), strict=True):
        deviation = np.sqrt(part.deviation(some, seen, slope) ** 2 + part.nu * part.c_squared)
        gain = expected_improvement(mean, deviation, known)
        total[short] += part.weight * gain / max(float(gain.max()), 1e-300)
    return total


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Returns E max(f - best, 0) [m] for f ~ N(mean, deviation^2) (Jones et al. 1998, eq. 15, for maximisation)."""
    u = (mean - best) / deviation
    density = np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi)
    return np.maximum(deviation * (u * ndtr(u) + density), 0.0)


@np.errstate(invalid="ignore")  # raised now and then by a product whose result is finite, as is asserted
def _means(parts: Sequence[Part], asked: Candidates, seen: Observations) -> list[tuple[np.ndarray, np.ndarray]]:
    """E z [m] and its derivative by c [m] of every part; one matrix product for all that share a kernel."""
    kind = asked.k.dtype
    B = np.array([[part.by_z, part.by_mean] for part in parts], dtype=kind)  # [parts, 2, n]
    by_k = np.empty((len(parts), 2, asked.k.shape[2]), dtype=kind)
    for kernel in {part.kernel for part in parts}:
        some = [i for i, part in enumerate(parts) if part.kernel == kernel]
        by_k[some] = np.reshape(B[some].reshape(2 * len(some), -1) @ asked.k[kernel], (len(some), 2, -1))
    directions = seen.at.D.T.astype(kind)
    found = []
    for part, b, known in zip(parts, B, by_k, strict=True):
        known = b.sum(axis=1)[:, None] + kind.type(part.belief.new) * known
        if part.belief.deviations:
            known = known + (b @ directions) @ asked.D
        slope = -known[1]
        if part.belief.trust:
            slope = slope + kind.type(part.belief.trust) * asked.means[part.belief.mean]
        found.append((known[0] + kind.type(part.c) * slope, slope))
        assert np.isfinite(found[-1]).all(), "what is expected of a candidate is a number"
    return found


@dataclass(frozen=True)
class _Block:
    """q beliefs with the same covariance and one noise."""

    beliefs: Sequence[Belief]
    kernel: int
    L: np.ndarray  # [n, n]
    by: np.ndarray  # [n, 1 + q] S^-1 z, S^-1 w mean
    logs: np.ndarray  # [q] log p(z | belief, kernel, nu) + log of its share of the belief
    c: np.ndarray  # [q]
    c_squared: np.ndarray  # [q]
    nu: float


def _blocks(beliefs: Sequence[Belief], seen: Observations) -> list[_Block]:
    """Every belief x kernel x noise, in an order that depends on the beliefs alone.

    In units of c the residual is z/c - w mean, so that z'S^-1 z, z'S^-1 mean and mean'S^-1 mean give the evidence of
    every c.
    """
    same: dict[tuple[int, bool, float], list[Belief]] = {}
    for belief in beliefs:
        for kernel in belief.kernels:
            same.setdefault((kernel, belief.deviations, belief.new), []).append(belief)
    n, diagonal = len(seen), np.diag_indices(len(seen))
    k, D = seen.at.k.astype(float), seen.at.D.astype(float)
    found = []
    for (kernel, deviations, new), some in same.items():
        S = 1.0 + new * k[kernel] + (D.T @ D if deviations else 0.0)
        M = seen.at.means[[b.mean for b in some]].astype(float) * np.array([[b.trust] for b in some])
        right = np.column_stack([seen.z, M.T])
        for nu, share in NOISES:
            A = S.copy()
            A[diagonal] += nu + share * seen.v
            L = _factor(A)
            half = _solved(L, right)
            by = _solved(L, half, transposed=True)
            zz, zm, mm = half[:, 0] @ half[:, 0], half[:, 0] @ half[:, 1:], np.sum(half[:, 1:] ** 2, axis=0)
            square = zz / SCALES**2 - 2.0 * zm[:, None] / SCALES + mm[:, None]
            logs = LOG_SCALES - n * np.log(SCALES) - np.log(L[diagonal]).sum() - 0.5 * square  # [q, scales]
            highest = logs.max(axis=1)
            p = np.exp(logs - highest[:, None])
            total = p.sum(axis=1)
            p /= total[:, None]
            logs = highest + np.log(total) - np.log([len(b.kernels) * len(NOISES) for b in some])
            found.append(_Block(some, kernel, L, by, logs, p @ SCALES, p @ SCALES**2, nu))
    return found


def _factor(A: np.ndarray) -> np.ndarray:
    """Returns the lower Cholesky factor [n, n] of A; straight to LAPACK, whose wrappers take longer than the work."""
    L, info = dpotrf(A, lower=1)
    assert info == 0, info
    return L


def _solved(L: np.ndarray, B: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    """Returns L^-1 B, or L^-T B, [n, q] for a lower triangular L [n, n]."""
    if not len(L):
        return B
    found, info = dtrtrs(L, B, lower=1, trans=int(transposed))
    assert info == 0, info
    return found
