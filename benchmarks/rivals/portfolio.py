"""A fixed order learned from history alone: by mean normal score over past tasks (the mean-rank portfolio).

What no past task measured is predicted by a Gaussian process on the records of each; results of the target change
nothing. The simplest way to use history, and the one to beat where tasks agree.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from benchmarks.rivals.gaussian import Ranking


class Portfolio(Ranking):
    """The choices that did best on average over past tasks, in that order."""

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        return self._means if self._means is not None else rng.random(len(self.pool.choices))

    @cached_property
    def _means(self) -> np.ndarray | None:
        found = [head.predict(self.pool.distances(rows))[0] for head, rows in self.heads()]
        return np.mean(found, axis=0) if found else None
