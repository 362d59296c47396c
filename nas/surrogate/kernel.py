"""The kernel: how alike two candidates are, given 0/1 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# lambda: what an operation costs, and much of what it is worth, is the same wherever it stands.
# It was the best of .27, .5 and .7 on TransNAS-Bench-101 and NAS-Bench-201.
COUNTED = 0.7


@dataclass(frozen=True)
class Kernels:
    """How alike candidates of a running search are: what was chosen where, or how often it was chosen at all.

    There is one kernel for every theta and tau, the first theta with every tau first; each is a covariance.

    Attributes:
        thetas: [d] each, weights of the columns.
        counts: [d, q] by which some of the columns become the shares u of decisions that took each word; q may be 0.
        taus: Roughnesses: by how much all distances are multiplied.
    """

    thetas: Sequence[np.ndarray]
    counts: np.ndarray
    taus: Sequence[float]

    def __len__(self) -> int:
        return len(self.thetas) * len(self.taus)

    def __call__(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Returns k [kernels, a, b] of rows A [a, d], B [b, d], in their precision.

        lambda exp(-tau |u - u'|^2) + (1 - lambda) exp(-tau d) of the columns that are counted, times exp(-tau d) of all
        others, where d is the weighted number of disagreements.
        """
        kind, counted = A.dtype.type, self.counts.any(axis=1)
        counts = self.counts.astype(kind)
        a, b = A @ counts, B @ counts
        off = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
        shares = [kind(COUNTED) * k for k in self._powers(np.exp(-np.maximum(off, 0.0)))]
        found = np.empty((len(self), len(A), len(B)), dtype=kind)
        each = iter(found)
        for theta in self.thetas:
            places, others = (correlation(A, B, (theta * of).astype(kind)) for of in (counted, ~counted))
            for share, place, other in zip(shares, self._powers(places), self._powers(others), strict=True):
                np.multiply(share + kind(1.0 - COUNTED) * place, other, out=next(each))
        return found

    def _powers(self, k: np.ndarray) -> list[np.ndarray]:
        return [_power(k, tau) for tau in self.taus]


def correlation(A: np.ndarray, B: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Returns exp(-sum_c theta_c |A_c - B_c|) [a, b] for rows A [a, d], B [b, d] of zeros and ones, in their precision.

    |x - y| = x + y - 2xy there, so one matrix product does it.
    """
    weighted = A * theta
    twice = weighted @ B.T
    twice *= 2.0
    found = weighted.sum(axis=1)[:, None] + (B @ theta)[None, :]  # in place from here: [a, b] may be large
    found -= twice
    np.maximum(found, 0.0, out=found)
    np.negative(found, out=found)
    return np.exp(found, out=found)


def _power(k: np.ndarray, tau: float) -> np.ndarray:
    """k^tau; roots and squares cost a tenth of other powers."""
    if tau == 1.0:
        return k
    if tau == 0.5:
        return np.sqrt(k)
    return k * k if tau == 2.0 else k ** k.dtype.type(tau)
