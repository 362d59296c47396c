"""A Gaussian process with expected improvement that knows no history (Jones, Schonlau and Welch 1998)."""

from __future__ import annotations

import numpy as np

from benchmarks.rivals.gaussian import START, Process, Ranking, expected_improvement, standardised


class ColdGaussianProcess(Ranking):
    """Five random choices, then the largest expected improvement of a process fitted to this search alone."""

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        if len(self.rows) < START:
            return rng.random(len(self.pool.choices))
        mean, deviation = self.expectation(rng)
        return expected_improvement(mean, deviation, standardised(np.array(self.scores)).max())

    def expectation(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return Process(self.D[:, self.rows], standardised(np.array(self.scores))).predict(self.D)
