"""Ranking-weighted Gaussian process ensemble (Feurer, Letham and Bakshy, AutoML workshop at ICML 2018).

One process per past task and one for the target; f ~ N(sum_i w_i mu_i, sum_i w_i^2 sigma_i^2). Symbols as in the paper:
i = 1 .. t-1 past tasks, t the target, n its observations, S samples.
    ranking loss of a sample:   L(f) = sum_j sum_k 1[(f(x_j) < f(x_k)) xor (y_j < y_k)]
    of the target's own model:  with f(x_j) drawn from its prediction without observation j
    w_i = 1/S sum_s 1[i in argmin_i' L_i's], ties shared
    a past task whose median loss exceeds the 95th percentile of the target's is left out (against weight dilution)
Before the third observation all past tasks weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.rivals.gaussian import START, Process, Ranking, expected_improvement, normal_scores

SAMPLES = 100
UNIFORM = 3  # observations before losses mean anything


@dataclass(frozen=True, eq=False)
class Base:
    """A past task's process with its predictions for all choices, [m] each."""

    process: Process
    rows: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class RankingWeighted(Ranking):
    """Past tasks' processes and the target's own, weighed by how well they order what was seen."""

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        if not self._bases and len(self.rows) < START:
            return rng.random(len(self.pool.choices))
        if not self.rows:
            return np.mean([base.mean for base in self._bases], axis=0)
        mean, deviation = self.expectation(rng)
        return expected_improvement(mean, deviation, float(mean[self.rows].max()))

    def expectation(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y = normal_scores(np.array(self.scores))
        own = Process(self.D[:, self.rows], y)
        weights = self._weights(own, y, rng)
        predictions = [(base.mean, base.deviation) for base in self._bases]
        predictions.append(own.predict(self.D) if weights[-1] > 0 else (np.zeros(1), np.zeros(1)))
        mean = np.sum([w * m for w, (m, _) in zip(weights, predictions, strict=True) if w > 0], axis=0)
        variance = np.sum([w**2 * d**2 for w, (_, d) in zip(weights, predictions, strict=True) if w > 0], axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    @cached_property
    def _bases(self) -> list[Base]:
        return [Base(head, rows, *head.predict(self.pool.distances(rows))) for head, rows in self.heads()]

    def _weights(self, own: Process, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns w [t], the target's own last; they sum to 1."""
        if len(y) < UNIFORM and self._bases:
            return np.append(np.full(len(self._bases), 1.0 / len(self._bases)), 0.0)
        losses = np.array([ranking_loss(self._draw(base, rng), y) for base in self._bases] + [self._own(own, y, rng)])
        diluting = np.median(losses, axis=1) > np.percentile(losses[-1], 95)
        diluting[-1] = False
        losses = np.where(diluting[:, None], np.inf, losses)
        best = losses == losses.min(axis=0)
        return (best / best.sum(axis=0)).mean(axis=1)

    def _draw(self, base: Base, rng: np.random.Generator) -> np.ndarray:
        """Returns samples [S, n] of a past task's function where the target was observed."""
        among = self.D[:, self.rows]
        mean, covariance = base.process.joint(self.pool.distances(base.rows, self.rows), among)
        L = np.linalg.cholesky(covariance + 1e-5 * np.eye(len(mean)))
        return mean + rng.standard_normal((SAMPLES, len(mean))) @ L.T

    @staticmethod
    def _own(own: Process, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, deviation = own.left_out(y)
        return ranking_loss(mean + deviation * rng.standard_normal((SAMPLES, len(y))), y)


def ranking_loss(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the number of ordered pairs of y [n] that each sample of f [S, n] puts the other way round, [S]."""
    first, second = np.triu_indices(len(y), 1)
    differs = (f[:, first] < f[:, second]) != (y[first] < y[second])
    return 2 * differs[:, y[first] != y[second]].sum(axis=1)
