"""Regularized evolution (Real, Aggarwal, Huang and Le, AAAI 2019, algorithm 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.space import identity

if TYPE_CHECKING:
    from nas.controllers.base import Controller
    from nas.record import Record
    from nas.space import Choices, Identity


class EvolutionController:
    """Mutates the best of a tournament; the oldest of the population dies, however good it is.

    Mutation only, one decision at a time, as in the paper. Its population of 100 and tournament of 25 are made for
    20,000 trainings; a search here has 20 to 200, so the same pressure (the best of a quarter) acts on 20: the random
    start then costs 20 trainings, not 100. Failed trainings fill the start but never enter the population.

    Args:
        problem: Space and seed; history is not read.
        population: Living members, and length of the random start; at least 1.
        tournament: How many living members a parent is the best of; at least 1.
    """

    def __init__(self, problem: Problem, population: int = 20, tournament: int = 5) -> None:
        if population < 1 or tournament < 1:
            raise ValueError(
                f"`population >= 1` and `tournament >= 1` must hold, but got ({population=}, {tournament=})."
            )
        self._problem = problem
        self._start = population
        self._tournament = tournament
        self._population: deque[tuple[float, Choices]] = deque(maxlen=population)  # appending drops the oldest
        self._told = Told()

    def ask(self, count: int = 1) -> list[Choices]:
        rng, seen = generator(self._problem, len(self._told)), set(self._told.choices)
        asked: list[Choices] = []
        for number in range(len(self._told), len(self._told) + count):
            asked.append(self._child(number, seen, rng))
            seen.add(identity(asked[-1]))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        for record in self._told.new(records):
            if record.score is not None:
                self._population.append((record.score, dict(record.choices)))

    def explain(self) -> Explanation:
        return Explanation(own=1.0, notes=(f"evolves the last {len(self._population)} trainings of this search",))

    def _child(self, number: int, seen: set[Identity], rng: np.random.Generator, attempts: int = 16) -> Choices:
        """A mutated winner; one decision more is changed with every fourth child that was seen before."""
        space = self._problem.space
        if number < self._start or not self._population:
            return fresh(space, seen, rng)
        size = min(self._tournament, len(self._population))
        members = rng.choice(len(self._population), size=size, replace=False)
        _, parent = max((self._population[int(i)] for i in members), key=lambda member: member[0])
        for attempt in range(attempts):
            child = space.mutate(parent, rng, edits=1 + attempt // 4)
            if identity(child) not in seen:
                return child
        return fresh(space, seen, rng)


if TYPE_CHECKING:
    _: type[Controller] = EvolutionController
