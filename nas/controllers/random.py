"""Random search (Bergstra and Bengio 2012): draws from the space, without repeats as long as there is anything new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.controllers.base import Explanation, Problem, Told, fresh, generator
from nas.space import identity

if TYPE_CHECKING:
    from nas.controllers.base import Controller
    from nas.record import Record
    from nas.space import Choices


class RandomController:
    """Draws every decision uniformly; the baseline every other controller has to beat."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._told = Told()

    def ask(self, count: int = 1) -> list[Choices]:
        rng, seen = generator(self._problem, len(self._told)), set(self._told.choices)
        asked: list[Choices] = []
        for _ in range(count):
            asked.append(fresh(self._problem.space, seen, rng))
            seen.add(identity(asked[-1]))
        return asked

    def tell(self, records: Sequence[Record]) -> None:
        self._told.new(records)

    def explain(self) -> Explanation:
        return Explanation(notes=("drawn at random; nothing is learned, neither from history nor from this search",))


if TYPE_CHECKING:
    _: type[Controller] = RandomController
