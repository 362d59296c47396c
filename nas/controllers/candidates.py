"""Candidates of a search as arrays: which there are, their columns, what history expects of them, how alike they are.

No model belongs here, and no decision which candidate comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.beliefs import EXPECTED
from nas.space import identity
from nas.surrogate import Candidates

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.controllers.prior import Expectation, Prior
    from nas.space import Choices, Identity, SearchSpace, Value

WHOLE = 30_000  # choices a space may have to be looked at as a whole
NEIGHBOURS = 10  # of each of the ten that history expects most of


def computation(architecture: Architecture, settings: Mapping[str, Value]) -> Identity:
    """Returns what two choices share if they mean the same training."""
    return (("architecture", architecture.key), *identity(settings))


@dataclass(frozen=True)
class Group:
    """m choices and what is known of them before the search: columns X [m, d], means [q, m], D [T, m]."""

    choices: Sequence[Choices]
    X: np.ndarray
    means: np.ndarray
    D: np.ndarray

    @classmethod
    def of(cls, choices: Sequence[Choices], expectation: Expectation) -> Group:
        """Returns ``choices`` encoded and asked about."""
        X = expectation.prior.columns.encode(choices)
        return cls(choices, X, *expectation.means(X))

    def __len__(self) -> int:
        return len(self.choices)

    def __add__(self, other: Group) -> Group:
        return Group(
            [*self.choices, *other.choices],
            np.concatenate([self.X, other.X]),
            np.concatenate([self.means, other.means], axis=1),
            np.concatenate([self.D, other.D], axis=1),
        )

    def seen_from(self, observed: Group, prior: Prior) -> Candidates:
        """Returns the candidates as the surrogate sees them, given what was observed."""
        return Candidates(prior.kernels(observed.X, self.X), self.means, self.D)


class Pool:
    """The candidates of a search: the whole space where it is small, else a part that grows around what is good.

    Args:
        space: Where they come from.
        expectation: What history expects.
        size: Random candidates, where the space is not looked at as a whole.
        seed: Decides them.
    """

    def __init__(self, space: SearchSpace, expectation: Expectation, size: int, seed: int) -> None:
        self._space, self._expectation, self._size, self._seed = space, expectation, size, seed
        self._kernels = expectation.prior.kernels
        self._rows = np.zeros((len(self._kernels), 0, 0), dtype=np.float32)  # k of the observed with the fixed part
        self._known: list[bytes] = []  # columns of the observed in ``_rows``

    @property
    def whole(self) -> bool:
        """Whether every choice of the space is a candidate."""
        return self._space.size <= WHOLE

    @cached_property
    def fixed(self) -> Group:
        """The candidates that do not depend on what this search has seen."""
        if self.whole:
            return Group.of(list(self._space.enumerate()), self._expectation)
        rng = np.random.default_rng([self._seed, 0, 0])
        drawn = _distinct([*self._from_history(), *(self._space.sample(rng) for _ in range(self._size))])
        group = Group.of(drawn, self._expectation)
        if not self._expectation.tasks:
            return group
        rng = np.random.default_rng([self._seed, 0, 1])
        best = np.argsort(-group.means[EXPECTED], kind="stable")[:10]
        near = [self._space.mutate(drawn[i], rng) for i in best for _ in range(NEIGHBOURS)]
        known = {identity(c) for c in drawn}
        new = [c for c in _distinct(near) if identity(c) not in known]
        return group + Group.of(new, self._expectation) if new else group

    def all(self, best: Sequence[Choices], rng: np.random.Generator) -> Group:
        """Returns the fixed candidates and, where they are not all there are, neighbours of ``best``."""
        if self.whole or not best:
            return self.fixed
        near = [self._space.mutate(choices, rng, edits=1 + i % 2) for choices in best for i in range(NEIGHBOURS)]
        new = [c for c in _distinct(near) if identity(c) not in self._identities]
        return self.fixed + Group.of(new, self._expectation) if new else self.fixed

    def seen_from(self, group: Group, observed: Group) -> Candidates:
        """Returns ``group``, which begins with the fixed candidates, as seen from the observed; rows are kept."""
        n, m = len(observed), len(self.fixed)
        columns = [x.tobytes() for x in observed.X]
        same = 0
        while same < min(n, len(self._known)) and columns[same] == self._known[same]:
            same += 1
        if n > self._rows.shape[1]:
            grown = np.empty((len(self._kernels), max(2 * n, 16), m), dtype=np.float32)
            if same:
                grown[:, :same] = self._rows[:, :same]
            self._rows = grown
        for i in range(same, n):  # one at a time, so that a row is the same whenever it is computed
            self._rows[:, i] = self._kernels(observed.X[i : i + 1], self.fixed.X)[:, 0]
        self._known = columns
        rows = self._rows[:, :n]
        if len(group) > m:
            rest = np.concatenate([self._kernels(x[None], group.X[m:]) for x in observed.X], axis=1)
            rows = np.concatenate([rows, rest], axis=2)
        return Candidates(rows, group.means, group.D)

    def free(self, group: Group, closed: Iterable[Identity]) -> np.ndarray:
        """Returns [m] which of ``group``, that begins with the fixed candidates, are not ``closed``."""
        taken = set(closed)
        found = np.ones(len(group), dtype=bool)
        found[[self._identities[one] for one in taken if one in self._identities]] = False
        rest = group.choices[len(self.fixed) :]
        found[len(self.fixed) :] = [identity(choices) not in taken for choices in rest]
        return found

    @cached_property
    def _identities(self) -> dict[Identity, int]:
        return {identity(choices): row for row, choices in enumerate(self.fixed.choices)}

    def _from_history(self) -> Iterator[Choices]:
        yield self._space.default()
        for lesson in self._expectation.prior.lessons:
            yield from (self._space.adapt(choices) for choices in lesson.winners)


def _distinct(choices: Sequence[Choices]) -> list[Choices]:
    return list({identity(c): c for c in choices}.values())
