"""Quantile-based transfer (Salinas, Shen and Perrone, ICML 2020): Copula Thompson Sampling and the copula process.

    z = Phi^-1(F(y)) within each task, F the empirical distribution, cut at [delta, 1 - delta],
        delta = 1 / (4 N^(1/4) sqrt(pi log N))                                                        (section 4)
    z | x ~ N(mu(x), sigma(x)^2), two outputs of one network, fitted to all past tasks by maximum likelihood
    CTS: of candidates drawn at random, that with the largest draw from N(mu, sigma^2); the target's results are unused
    GCP: a Gaussian process on the residuals (z - mu(x)) / sigma(x) of the target; expected improvement in z

The paper's network: three hidden layers of 50 units, trained by Adam; here 500 steps on batches of 256.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from benchmarks.rivals.gaussian import START, Process, Ranking, expected_improvement

CANDIDATES = 2000
STEPS, BATCH, UNITS, RATE = 500, 256, 50, 0.01


def copula(y: np.ndarray) -> np.ndarray:
    """Returns z [n] of y [n], n >= 2."""
    n = len(y)
    delta = 1.0 / (4.0 * n**0.25 * math.sqrt(math.pi * math.log(n)))
    return ndtri(np.clip((rankdata(y) - 0.5) / n, delta, 1.0 - delta))


class CopulaSampling(Ranking):
    """The best of random candidates by a draw from what all past tasks together expect (CTS)."""

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        m = len(self.pool.choices)
        if self.expected is None:
            return rng.random(m)
        mu, sigma = self.expected
        wanted = np.full(m, -1e9)
        unseen = np.setdiff1d(np.arange(m), self.rows)
        drawn = rng.choice(unseen, size=min(CANDIDATES, len(unseen)), replace=False)
        wanted[drawn] = rng.normal(mu[drawn], sigma[drawn])
        return wanted

    @cached_property
    def expected(self) -> tuple[np.ndarray, np.ndarray] | None:
        """mu and sigma [m] of every choice, or None without history."""
        past = self.past()
        if not past:
            return None
        rows = np.concatenate([rows for rows, _ in past])
        z = np.concatenate([copula(y) for _, y in past])
        return fitted(self.pool.B, rows, z, self.problem.seed)


class CopulaProcess(CopulaSampling):
    """What all past tasks together expect, corrected by a process on this search's residuals (GCP)."""

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        m = len(self.pool.choices)
        if self.expected is None and len(self.rows) < START:
            return rng.random(m)
        if len(self.rows) < 2:
            return self._prior[0]
        mean, deviation = self.expectation(rng)
        return expected_improvement(mean, deviation, copula(np.array(self.scores)).max())

    def expectation(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        mu, sigma = self._prior
        residuals = (copula(np.array(self.scores)) - mu[self.rows]) / sigma[self.rows]
        mean, deviation = Process(self.D[:, self.rows], residuals).predict(self.D)
        return mu + sigma * mean, sigma * deviation

    @property
    def _prior(self) -> tuple[np.ndarray, np.ndarray]:
        m = len(self.pool.choices)
        return (np.zeros(m), np.ones(m)) if self.expected is None else self.expected


def fitted(B: np.ndarray, rows: np.ndarray, z: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mu and sigma [m] for B [m, d] of a network fitted to z [N] observed at ``rows`` [N]."""
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        X, target = torch.tensor(B, dtype=torch.float32), torch.tensor(z, dtype=torch.float32)
        layers: list[nn.Module] = []
        for width in (B.shape[1], UNITS, UNITS):
            layers += [nn.Linear(width, UNITS), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(UNITS, 2))
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        known = torch.tensor(rows)
        for _ in range(STEPS):
            batch = torch.randint(len(z), (BATCH,))
            mu, raw = network(X[known[batch]]).T
            loss = nn.functional.gaussian_nll_loss(mu, target[batch], nn.functional.softplus(raw) ** 2 + 1e-4)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            mu, raw = network(X).T
        return mu.double().numpy(), np.sqrt(nn.functional.softplus(raw).double().numpy() ** 2 + 1e-4)
