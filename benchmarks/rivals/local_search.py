"""Local search (White, Nolen and Savani, UAI 2021): all neighbours, on to the best of them, until none is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rivals.gaussian import Ranking
from nas.controllers import Problem

if TYPE_CHECKING:
    from nas.record import Record

NEAR = 1.0 + 1e-9  # decisions in which a neighbour differs


class LocalSearch(Ranking):
    """From a random choice to its best neighbour until none is better, then from another random choice."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._centre: int | None = None  # position among what was told
        self._best = 0
        self._J = len(problem.space.decisions())

    def utility(self, rng: np.random.Generator) -> np.ndarray:
        wanted = rng.random(len(self.pool.choices))
        return wanted if self._centre is None else wanted + self._near(self._centre)

    def tell(self, records: Sequence[Record]) -> None:
        for record in records:
            super().tell([record])
            last = len(self.rows) - 1
            if self._centre is None:
                self._centre = self._best = last
            elif self.scores[last] > self.scores[self._best]:
                self._best = last
            self._move()

    def _move(self) -> None:
        """Goes on from the best neighbour once all have been seen; nowhere, where none is better."""
        while self._centre is not None and not np.delete(self._near(self._centre), self.rows).any():
            near = self._near(self._centre)
            known = [i for i, row in enumerate(self.rows) if near[row]]
            best = max(known, key=lambda i: self.scores[i])
            self._centre = best if self.scores[best] > self.scores[self._centre] else None
            self._best = best

    def _near(self, position: int) -> np.ndarray:
        return self.D[position] * self._J <= NEAR
