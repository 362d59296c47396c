"""Exact Gaussian processes for at most some 500 observations: distances in, mean and deviation out.

Only numpy and scipy; nothing here knows what an architecture, a dataset or a controller is.

Symbols
    n, m, d     observations, queries, columns
    X           [n, d]  rows of features, already scaled column by column
    D           [n, n]  distances between observations; [n, m] between observations and queries
    y           [n]     observed values
    v           [n]     known noise variances (squared standard errors)
    f           unknown function: f ~ GP(0, constant + signal k(D / length)); y = f(X) + e, e_i ~ N(0, v_i + jitter)
    K           [n, n]  constant + signal k(D / length) + diag(v + jitter),  K = L L'
    k           "laplace": exp(-D) on D = sum_c |X_c - X'_c|;  "matern": Matern-5/2 on the Euclidean distance

Formulas: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import ndtr

METRICS = {"laplace": "cityblock", "matern": "euclidean"}


def distances(A: np.ndarray, B: np.ndarray, kernel: str = "laplace") -> np.ndarray:
    """Returns the distances [n, m] between the rows of A [n, d] and B [m, d] that ``kernel`` is a function of."""
    return cdist(np.atleast_2d(A), np.atleast_2d(B), METRICS[kernel])


def correlation(D: np.ndarray, kernel: str = "laplace") -> np.ndarray:
    """Returns k(D) in (0, 1], of the shape of D; k(0) = 1."""
    if kernel == "laplace":
        return np.exp(-D)
    s = np.sqrt(5.0) * D
    return (1.0 + s + s**2 / 3.0) * np.exp(-s)


@dataclass(frozen=True)
class Parameters:
    """What a Gaussian process assumes before it has seen anything (symbols above)."""

    length: float = 1.0
    signal: float = 1.0
    constant: float = 0.0
    jitter: float = 1e-6

    def __post_init__(self) -> None:
        if not (self.length > 0 and self.signal >= 0 and self.constant >= 0 and self.jitter >= 0):
            raise ValueError(f"`length > 0` and no negative variance must hold, but got {self}.")


GRID = tuple(
    Parameters(length, signal, 1.0, jitter)
    for length, signal, jitter in product((0.25, 0.5, 1.0, 2.0, 4.0), (0.1, 0.3, 1.0, 3.0), (1e-3, 0.03, 0.2))
)


class GaussianProcess:
    """A Gaussian process given where it was observed; what was observed comes with each question.

    So one factorisation, O(n^3), answers for as many ``y`` (say, residuals of different prior means) as are asked.

    Args:
        D: distances [n, n] between the observations; n = 0 is allowed.
        v: known noise variances [n], or one for all.
        parameters: length, variances.
        kernel: "laplace" or "matern".
    """

    def __init__(self, D: np.ndarray, v: np.ndarray | float, parameters: Parameters, kernel: str = "laplace") -> None:
        self.parameters = parameters
        self.kernel = kernel
        n = len(D)
        K = self._covariance(D) + np.diag(np.broadcast_to(np.asarray(v, dtype=float), n) + parameters.jitter)
        self._L = _cholesky(K)

    def _covariance(self, D: np.ndarray) -> np.ndarray:
        p = self.parameters
        return p.constant + p.signal * correlation(np.asarray(D, dtype=float) / p.length, self.kernel)

    def log_evidence(self, y: np.ndarray) -> np.ndarray:
        """Returns log p(y), the log marginal likelihood, of y [n] or of each column of y [n, q]."""
        a = solve_triangular(self._L, y, lower=True, check_finite=False)
        n = len(self._L)
        return -0.5 * np.sum(a**2, axis=0) - np.sum(np.log(np.diag(self._L))) - 0.5 * n * np.log(2 * np.pi)

    def predict(self, y: np.ndarray, D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean [m] and standard deviation [m] of f (without noise) at queries at distances D [n, m]."""
        k = self._covariance(D)
        mean = k.T @ cho_solve((self._L, True), y, check_finite=False)
        explained = np.sum(solve_triangular(self._L, k, lower=True, check_finite=False) ** 2, axis=0)
        variance = self.parameters.constant + self.parameters.signal - explained
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def choose(
    D: np.ndarray, y: np.ndarray, v: np.ndarray | float, grid: Iterable[Parameters] = GRID, kernel: str = "laplace"
) -> GaussianProcess:
    """Returns the process of ``grid`` under which y [n] is likeliest; the first of equals."""
    processes = (GaussianProcess(D, v, parameters, kernel) for parameters in grid)
    return max(processes, key=lambda process: float(process.log_evidence(y)))


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Returns E max(f - best, 0) [m] for f ~ N(mean, deviation^2) (Jones et al. 1998, eq. 15, for maximisation)."""
    u = (mean - best) / deviation
    density = np.exp(-0.5 * u**2) / np.sqrt(2.0 * np.pi)
    return np.maximum(deviation * (u * ndtr(u) + density), 0.0)


def _cholesky(K: np.ndarray) -> np.ndarray:
    """Returns L with L L' = K, with just enough added to the diagonal where K is singular to rounding."""
    scale = float(np.mean(np.diag(K))) if len(K) else 1.0
    for extra in (0.0, 1e-10, 1e-8, 1e-6, 1e-4):
        try:
            return np.linalg.cholesky(K + extra * scale * np.eye(len(K)))
        except np.linalg.LinAlgError:
            continue
    raise ValueError(f"distances must give a covariance that is positive definite, but got one of shape {K.shape}.")
