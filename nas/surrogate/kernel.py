"""The kernel: how alike two candidates are, given 0/1 columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# lambda: what an operation costs, and much of what it is worth, is the same wherever it stands.
# The best of .27, .5 and .7 on TransNAS-Bench-101 and NAS-Bench-201.
COUNTED = 0.7


@dataclass(frozen=True)
class Kernel:
    """How alike candidates of a running search are: what was chosen where, or how often it was chosen at all.

    Attributes:
        theta: [d] weight of every column.
        counts: [d, v] by which some of the columns become the shares u of decisions that took each value; v may be 0.
    """

    theta: np.ndarray
    counts: np.ndarray

    def __call__(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Returns k [a, b] of rows A [a, d], B [b, d], in their precision.

        lambda exp(-|u - u'|^2) + (1 - lambda) k of the columns that are counted, times k of all others.
        """
        theta = self.theta.astype(A.dtype)
        counted = self.counts.any(axis=1)
        if not counted.any():
            return correlation(A, B, theta)
        kind, counts = A.dtype.type, self.counts[counted].astype(A.dtype)
        at, bt = A[:, counted], B[:, counted]
        a, b = at @ counts, bt @ counts
        off = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
        found = kind(1.0 - COUNTED) * correlation(at, bt, theta[counted])
        found += kind(COUNTED) * np.exp(-np.maximum(off, 0.0))
        return found if counted.all() else found * correlation(A[:, ~counted], B[:, ~counted], theta[~counted])


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


def power(k: np.ndarray, tau: float) -> np.ndarray:
    """Returns k^tau, of the shape and precision of k; roots and squares cost a tenth of other powers."""
    if tau == 1.0:
        return k
    if tau == 0.5:
        return np.sqrt(k)
    return k * k if tau == 2.0 else k ** k.dtype.type(tau)
