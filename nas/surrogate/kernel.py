"""The kernel: how alike two candidates are, given 0/1 columns."""

from __future__ import annotations

import numpy as np


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
