"""A search space of which only the measured choices exist, so that a search can be played on what is on record.

Here belongs what keeps proposals among the measured; not here: scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.architecture import Architecture
from nas.space.decisions import identity
from nas.space.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from nas.space.decisions import Choices, Identity

ATTEMPTS = 32  # mutations that may leave the table before the nearest measured choice takes their place


class MeasuredSpace(SearchSpace):
    """The space ``base`` without the choices that were not measured.

    Where ``base`` would propose one of those, the measured choice with most decisions in common takes its place; of
    equals, one drawn by what was proposed. Architectures are built once.

    Args:
        base: The space; it must not change any more.
        choices: [n] what was measured, at least one, all in ``base``.

    Attributes:
        measured: [n] in the order given.
        rows: The place of each by its identity.
    """

    def __init__(self, base: SearchSpace, choices: Sequence[Choices]) -> None:
        self.__dict__.update(vars(base))
        self._fingerprint = base.fingerprint
        self.measured = list(choices)
        self.rows = {identity(c): row for row, c in enumerate(self.measured)}
        self._built: dict[Identity, Architecture] = {}
        domains = base.decisions().items()
        self._numbers: dict[str, dict[object, int]] = {
            path: {value: i for i, value in enumerate(domain.values or ())} for path, domain in domains
        }
        self._codes = np.array([self._code(c) for c in self.measured])  # [n, decisions]

    def only(self, rows: Sequence[int] | np.ndarray) -> MeasuredSpace:
        """Returns the same space with the choices at ``rows`` alone, in that order."""
        space = MeasuredSpace(self, [self.measured[row] for row in rows])
        space._built = self._built
        return space

    @property
    def size(self) -> float:
        return len(self.measured)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint or super().fingerprint

    def contains(self, choices: Mapping[str, object]) -> bool:
        return identity(choices) in self.rows and super().contains(choices)

    def architecture(self, choices: Choices) -> Architecture:
        key = identity(choices)
        if key not in self._built:
            self._built[key] = super().architecture(choices)
        return self._built[key]

    def enumerate(self, *, settings: bool = True) -> Iterator[Choices]:
        yield from (dict(c) for c in self.measured)

    def sample(self, rng: np.random.Generator) -> Choices:
        return dict(self.measured[int(rng.integers(len(self.measured)))])

    def default(self) -> Choices:
        return self._nearest(super().default())

    def mutate(self, choices: Choices, rng: np.random.Generator, edits: int = 1) -> Choices:
        for _ in range(ATTEMPTS):
            changed = super().mutate(choices, rng, edits)
            if identity(changed) in self.rows:
                return changed
        return self._nearest(changed)

    def cross_over(self, first: Choices, second: Choices, rng: np.random.Generator) -> Choices:
        return self._nearest(super().cross_over(first, second, rng))

    def adapt(self, choices: Mapping[str, object]) -> Choices:
        return self._nearest(super().adapt(choices))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Choices:
        return self._nearest(super().suggest(trial))

    def _nearest(self, choices: Choices) -> Choices:
        if identity(choices) in self.rows:
            return choices
        code = self._code(choices)
        away = (self._codes != code).sum(axis=1)
        ties = np.flatnonzero(away == away.min())
        drawn = int(np.random.default_rng(code + 1).integers(len(ties)))
        return dict(self.measured[int(ties[drawn])])

    def _code(self, choices: Mapping[str, object]) -> np.ndarray:
        """[decisions] the number of each value; -1 where a decision is not taken or its values cannot be listed."""
        known = self._numbers.items()
        return np.array([values.get(choices[path], -1) if path in choices else -1 for path, values in known])
