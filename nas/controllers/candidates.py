"""Candidates of a search as arrays: choices, what they compute, their columns for a kernel, what history expects.

No model belongs here, and no decision which candidate comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.base import identity
from nas.encoding import decisions, matrix, space_free

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.controllers.base import Identity
    from nas.controllers.prior import Lesson, Prior
    from nas.space import Choices, SearchSpace, Value


@dataclass(frozen=True)
class Candidates:
    """m choices with what the models know of them.

    Attributes:
        choices: [m]
        keys: [m] what each computes, equal where two choices mean the same training.
        X: [m, d] columns whose summed absolute difference is about 1 on average over the pool.
        prior: [m] expected normal score, 0 without history.
    """

    choices: list[Choices]
    keys: list[Identity]
    X: np.ndarray
    prior: np.ndarray

    def __add__(self, other: Candidates) -> Candidates:
        return Candidates(
            self.choices + other.choices,
            self.keys + other.keys,
            np.vstack([self.X, other.X]),
            np.concatenate([self.prior, other.prior]),
        )

    def __len__(self) -> int:
        return len(self.choices)

    def take(self, rows: Sequence[int] | np.ndarray) -> Candidates:
        """Returns the candidates at ``rows``."""
        return Candidates([self.choices[i] for i in rows], [self.keys[i] for i in rows], self.X[rows], self.prior[rows])

    def but(self, seen: set[Identity]) -> Candidates:
        """Returns those of which neither the choices nor what they compute were seen."""
        pairs = zip(self.keys, self.choices, strict=True)
        return self.take([i for i, (key, c) in enumerate(pairs) if key not in seen and identity(c) not in seen])


def computation(architecture: Architecture, settings: Mapping[str, Value]) -> Identity:
    """Returns what two choices share if they mean the same training."""
    return (("architecture", architecture.key), *identity(settings))


class Encoder:
    """Turns choices into ``Candidates``; everything is computed once.

    Columns are the decisions of the space and the space-free encoding, the latter each over its range among ``drawn``.
    Either half gets half of the mean distance between two of ``drawn``: decisions tell all choices apart, space-free
    columns know which of them are alike.

    Args:
        space: The space the choices belong to.
        prior: What history expects, or None.
        drawn: Candidates that set the scales, at least one.
    """

    def __init__(self, space: SearchSpace, prior: Prior | None, drawn: Sequence[Choices]) -> None:
        self._space, self._prior = space, prior
        self._meanings: dict[Identity, tuple[Identity, dict[str, float]]] = {}  # what it computes, how it is encoded
        self._known: dict[Identity, tuple[np.ndarray, float]] = {}  # columns, prior
        C, self._decisions = matrix([decisions(space, choices) for choices in drawn])
        F, self._features = matrix([self.features(choices) for choices in drawn])
        spread = np.ptp(F, axis=0)
        scale = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
        self._scales = _halved(C, np.ones(C.shape[1])), _halved(F, scale)

    def key(self, choices: Choices) -> Identity:
        """Returns what ``choices`` computes."""
        return self._meaning(choices)[0]

    def features(self, choices: Choices) -> dict[str, float]:
        """Returns the space-free encoding of what ``choices`` computes."""
        return self._meaning(choices)[1]

    def encode(self, choices: Sequence[Choices]) -> Candidates:
        """Returns all of ``choices`` as candidates."""
        new = [c for c in choices if identity(c) not in self._known]
        if new:
            C, _ = matrix([decisions(self._space, c) for c in new], self._decisions)
            F, _ = matrix([self.features(c) for c in new], self._features)
            X = np.hstack([C * self._scales[0], F * self._scales[1]])
            prior = self._prior.predict([self.features(c) for c in new]) if self._prior else np.zeros(len(new))
            self._known.update({identity(c): (x, float(p)) for c, x, p in zip(new, X, prior, strict=True)})
        found = [self._known[identity(c)] for c in choices]
        X = np.array([x for x, _ in found]).reshape(len(found), len(self._decisions) + len(self._features))
        return Candidates(list(choices), [self.key(c) for c in choices], X, np.array([p for _, p in found]))

    def distinct(self, choices: Iterable[Choices], known: Iterable[Identity] = ()) -> Candidates:
        """Returns ``choices`` without those that compute the same as an earlier one or as one of ``known``."""
        taken = set(known)
        kept = []
        for c in choices:
            if self.key(c) not in taken:
                taken.add(self.key(c))
                kept.append(c)
        return self.encode(kept)

    def _meaning(self, choices: Choices) -> tuple[Identity, dict[str, float]]:
        key = identity(choices)
        if key not in self._meanings:
            architecture, settings = self._space.architecture(choices), self._space.settings(choices)
            self._meanings[key] = computation(architecture, settings), space_free(architecture, settings)
        return self._meanings[key]


def drawn(
    space: SearchSpace, past: Sequence[Lesson], rng: np.random.Generator, size: int, from_history: int
) -> Iterator[Choices]:
    """Yields the default, the best of every past dataset as this space can hold it, and ``size`` random choices.

    A space of at most ``size`` choices is yielded whole. About ``from_history`` come from the past, at least three
    a dataset.
    """
    if space.size <= size:
        yield from space.enumerate()
        return
    yield space.default()
    for lesson in past:
        for record in lesson.records[: max(from_history // len(past), 3)]:
            yield space.adapt(record.choices)
    for _ in range(size):
        yield space.sample(rng)


def _halved(block: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns ``scale`` [d] so changed that two rows of ``block`` [m, d] differ by 1/2 on average."""
    other = np.roll(np.random.default_rng(0).permutation(len(block)), 1)
    mean = float(np.abs((block - block[other]) * scale).sum(axis=1).mean())
    return scale / (2.0 * mean) if mean > 0 else scale
