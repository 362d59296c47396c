"""What the hierarchy of past tasks assumes: how fast scores change with candidates and with tasks.

Fitted offline as the most probable given some hundred records (maximum a posteriori, L-BFGS). Symbols in
``nas.surrogate``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from nas.surrogate.kernel import correlation

STEPS = 25  # of L-BFGS
VARIANCES = (0.5, 0.3, 0.15)  # prior medians of s_mu, s_de, s_n, each log-normal with deviation 1
ALIKE = 0.3  # that of s_al
OVERALL, SPREAD = 0.7, 0.7  # log theta = log base + g + h_c; g ~ N(OVERALL, 1), h_c ~ N(0, SPREAD^2)


@dataclass(frozen=True)
class Smoothness:
    """Weights and variances.

    Attributes:
        theta: [d] of columns.
        common, own, noise: s_mu, s_de, s_n.
        alike: s_al, 0 where tasks are not described.
        weights: [p] of the features of tasks.
    """

    theta: np.ndarray
    common: float
    own: float
    noise: float
    alike: float = 0.0
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))

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

    def with_features(self, C: np.ndarray, z: np.ndarray, owner: np.ndarray, features: np.ndarray) -> Smoothness:
        """Returns the same for columns, and the most probable for tasks with ``features`` [T, p] (normal scores).

        log w_j = -log p + g + h_j with g ~ N(0, 1), h_j ~ N(0, SPREAD^2): all weigh alike until scores say otherwise.
        """
        p = features.shape[1]
        start = np.concatenate([np.log([self.common, ALIKE, self.own, self.noise]), np.zeros(1 + p)])
        K = correlation(C, C, self.theta)
        found = minimize(
            _tasks_objective,
            start,
            args=(K, z, owner, features),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": STEPS},
        )
        common, alike, own, noise = (float(v) for v in np.exp(found.x[:4]))
        weights = np.exp(found.x[4] + found.x[5:]) / p
        return replace(self, common=common, own=own, noise=noise, alike=alike, weights=weights)

    def likeness(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Returns k_task [a, b] of tasks with features A [a, p] and B [b, p], in [0, 1]."""
        return _likeness(A, B, self.weights)


def _likeness(A: np.ndarray, B: np.ndarray, weights: np.ndarray) -> np.ndarray:
    a, b = A * np.sqrt(weights), B * np.sqrt(weights)
    return np.exp(-np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T, 0.0))


def _objective(
    p: np.ndarray, C: np.ndarray, z: np.ndarray, same: np.ndarray, base: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus log posterior density of p = (log variances, g, h), and its gradient."""
    common, own, noise = np.exp(p[:3])
    theta = base * np.exp(p[3] + p[4:])
    K = correlation(C, C, theta)
    weight = common + own * same
    value, G = _likelihood(weight * K, noise, z)
    GK = G * K
    W = GK * weight
    by_theta = -2.0 * (W.sum(axis=1) @ C - np.einsum("ic,ic->c", C, W @ C))  # |x - y| = x + y - 2xy
    gradient = np.concatenate(
        [[common * GK.sum(), own * (GK * same).sum(), noise * np.trace(G)], [by_theta @ theta], by_theta * theta]
    )
    off = np.concatenate([p[:3] - np.log(VARIANCES), [p[3] - OVERALL], p[4:] / SPREAD])
    gradient += np.concatenate([off[:4], off[4:] / SPREAD])
    return value + 0.5 * float(off @ off), gradient


def _tasks_objective(
    p: np.ndarray, K: np.ndarray, z: np.ndarray, owner: np.ndarray, features: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus log posterior density of p = (log s_mu, s_al, s_de, s_n, g, h), and its gradient."""
    common, alike, own, noise = np.exp(p[:4])
    weights = np.exp(p[4] + p[5:]) / features.shape[1]
    R = _likeness(features, features, weights)
    between = common + alike * R + own * np.eye(len(R))
    value, G = _likelihood(between[np.ix_(owner, owner)] * K, noise, z)
    present, starts = np.unique(owner, return_index=True)  # ascending, so that tasks are blocks
    blocks = np.zeros_like(R)
    blocks[np.ix_(present, present)] = np.add.reduceat(np.add.reduceat(G * K, starts, axis=0), starts, axis=1)
    S = alike * blocks * R
    by_weights = -2.0 * weights * (S.sum(axis=1) @ features**2 - np.einsum("tj,tj->j", features, S @ features))
    gradient = np.concatenate(
        [
            [common * blocks.sum(), S.sum(), own * np.trace(blocks), noise * np.trace(G)],
            [by_weights.sum()],
            by_weights,
        ]
    )
    medians = np.log([VARIANCES[0], ALIKE, *VARIANCES[1:]])
    off = np.concatenate([p[:4] - medians, [p[4]], p[5:] / SPREAD])
    gradient += np.concatenate([off[:5], off[5:] / SPREAD])
    return value + 0.5 * float(off @ off), gradient


def inverse_of(L: np.ndarray) -> np.ndarray:
    """Returns (LL')^-1 of a lower triangular L [N, N], a third of the work of solving for the identity."""
    found, info = dpotri(L, lower=1)
    assert info == 0, "a Cholesky factor has a diagonal above 0"
    return np.tril(found) + np.tril(found, -1).T


def _likelihood(S: np.ndarray, noise: float, z: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus log N(z; 0, S + noise), up to a constant, and its derivative by the covariance."""
    A = S + (noise + 1e-6) * np.eye(len(z))
    L = np.linalg.cholesky(A)
    inverse = inverse_of(L)
    alpha = inverse @ z
    return 0.5 * float(z @ alpha) + float(np.log(np.diag(L)).sum()), 0.5 * (inverse - np.outer(alpha, alpha))
