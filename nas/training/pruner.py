"""When a training is not worth going on with: by halves of a group, or by the learning curves of past searches.

Here belong rules over curves, in numpy alone. Who is trained with whom belongs to ``company``; where past curves come
from (records: ``Outcome.curve``) is the caller's business. Scores are higher-is-better, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nas.errors import SearchError

Curve = Sequence[float]
LOOKS = (0.06, 0.1, 0.15, 0.2, 0.27, 0.35, 0.42, 0.5, 0.6, 0.7, 0.8)  # parts of a schedule after which it is looked
FEWEST = 20  # past winners from which a rule is made
ORDERS = 3  # in which the trainings of a past search are gone through, for more winners


class Pruner(Protocol):
    """Decides at some epochs which trainings stop."""

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs (from 1, below ``epochs``, rising) after which it is asked."""
        ...

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns the numbers of the trainings that stop after ``epoch`` of ``epochs``, given all curves so far."""
        ...


class Halving:
    """Successive halving (Jamieson and Talwalkar 2016): of those under way, the best ``1 / factor`` go on at each rung.

    Rungs lie at ``epochs / factor**k``, not before ``first``; a survivor goes on from where it stands, on the same
    schedule, so that its end is that of a training that was never looked at.
    """

    def __init__(self, factor: int = 3, first: int = 1) -> None:
        if factor < 2 or first < 1:
            raise SearchError(f"`factor >= 2` and `first >= 1` must hold, but got {factor=}, {first=}.")
        self.factor, self.first = factor, first

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs after which trainings are halved."""
        found, epoch = [], epochs // self.factor
        while epoch >= self.first:
            found.append(epoch)
            epoch //= self.factor
        return found[::-1]

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns all but the best of the trainings; of equals, the first goes on."""
        order = sorted(range(len(curves)), key=lambda i: (-max(curves[i]), i))
        return set(order[max(1, math.ceil(len(curves) / self.factor)) :])


class HistoryPruner:
    """Stops a training whose chance to end above the best one, by the curves of past searches, is small.

    The chance at each part of the schedule is a logistic regression on where the training stands: how far behind the
    best one's curve and end, how fast both rise, how much the complete curves of this search still gained from here,
    and how many of them it is behind (``_standing``). It is learned from past searches, gone through in several orders
    as if each were this one.

    Args:
        past: For each past search its complete curves; on any dataset.
        best: The best complete curve of this search, None until there is one.
        risk: A training stops where its chance is below this.
    """

    def __init__(self, past: Sequence[Sequence[Curve]], best: Curve | None = None, risk: float = 0.05) -> None:
        if not 0.0 < risk < 1.0:
            raise SearchError(f"`0 < risk < 1` must hold, but got {risk=}.")
        self.risk = risk
        self.complete: list[np.ndarray] = []
        self._chances = _learned(past)
        if best is not None:
            self.tell(best)

    @property
    def best(self) -> np.ndarray | None:
        """The best complete curve of this search, as its best score so far at each epoch."""
        return max(self.complete, key=lambda curve: float(curve[-1])) if self.complete else None

    def tell(self, curve: Curve) -> None:
        """Takes a complete curve of this search."""
        usable = _running_best(curve)
        if usable is not None:
            self.complete.append(usable)

    def restart(self) -> None:
        """Forgets the curves of this search, not those of the past."""
        self.complete = []

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs after which trainings are looked at."""
        return sorted({_index(look, epochs) + 1 for look in LOOKS} - {epochs})

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns the trainings with too small a chance."""
        looks = [look for look in self._chances if _index(look, epochs) + 1 <= epoch]
        if not self.complete or not looks:
            return set()
        chance, found = self._chances[looks[-1]], set()
        for i, curve in enumerate(curves):
            so_far = _running_best(curve, fewest=1)
            if so_far is not None and chance.of(_standing(so_far, epochs, self.complete)) < self.risk:
                found.add(i)
        return found


class _Chance:
    """A logistic regression, with a ridge of 1 on standardised inputs, by Newton's method."""

    def __init__(self, inputs: np.ndarray, outcomes: np.ndarray) -> None:
        self.mean, self.deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        x = self._standardised(inputs)
        ridge = np.diag([*np.ones(x.shape[1] - 1), 1e-6])
        self.weights = np.zeros(x.shape[1])
        for _ in range(30):
            p = self._sigmoid(x)
            slope = x.T @ (p - outcomes) + ridge @ self.weights
            step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + ridge, slope)
            self.weights -= step
            if np.abs(step).max() < 1e-6:
                break

    def of(self, standing: np.ndarray) -> float:
        """Returns the chance, 0 to 1, of a training that stands so."""
        return float(self._sigmoid(self._standardised(standing[None]))[0])

    def _standardised(self, inputs: np.ndarray) -> np.ndarray:
        return np.column_stack([(inputs - self.mean) / self.deviation, np.ones(len(inputs))])

    def _sigmoid(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = 1.0 / (1.0 + np.exp(-np.clip(x @ self.weights, -30.0, 30.0)))
        return found


def _learned(past: Sequence[Sequence[Curve]]) -> dict[float, _Chance]:
    """Returns the chance at each look; empty where history is too short."""
    inputs: dict[float, list[np.ndarray]] = {look: [] for look in LOOKS}
    outcomes: list[bool] = []
    rng = np.random.default_rng(0)
    for curves in past:
        usable = [curve for curve in map(_running_best, curves) if curve is not None]
        for _ in range(ORDERS):
            before: list[np.ndarray] = []
            for i in rng.permutation(len(usable)):
                curve = usable[i]
                if before:
                    outcomes.append(bool(curve[-1] > max(each[-1] for each in before)))
                    for look, found in inputs.items():
                        so_far = curve[: _index(look, len(curve)) + 1]
                        found.append(_standing(so_far, len(curve), before))
                before.append(curve)
    if sum(outcomes) < FEWEST:
        return {}
    return {look: _Chance(np.stack(found), np.asarray(outcomes, dtype=float)) for look, found in inputs.items()}


def _standing(curve: np.ndarray, epochs: int, complete: Sequence[np.ndarray]) -> np.ndarray:
    """Returns where a training stands among complete ones after ``len(curve)`` of ``epochs``, 12 numbers.

    All curves are running bests. Differences are over the size of the best score, logarithmic from about 1 / 20 on.
    """
    part = len(curve) / epochs
    then = np.array([each[_index(part, len(each))] for each in complete])
    ends = np.array([each[-1] for each in complete])
    best = complete[int(ends.argmax())]
    now, at = curve[-1], then[ends.argmax()]
    size = abs(best[-1]) + 1e-12
    behind_end, gained = (best[-1] - now) / size, (ends - then) / size
    numbers = (
        (at - now) / size,
        behind_end,
        (now - curve[(len(curve) - 1) // 2]) / size,
        (at - best[_index(part, len(best)) // 2]) / size,
        gained.max(),
        np.median(gained),
        ends.std() / size,
        np.mean(then > now),
        len(complete),
        np.searchsorted(best, now) / len(best),
        behind_end / (gained[ends.argmax()] + 1e-3),
        behind_end / (gained.max() + 1e-3),
    )
    found: np.ndarray = np.sign(numbers) * np.log1p(20.0 * np.abs(numbers))
    return found


def _running_best(curve: Curve, fewest: int = 2) -> np.ndarray | None:
    values = np.asarray(curve, dtype=float)
    return np.maximum.accumulate(values) if len(values) >= fewest and np.isfinite(values).all() else None


def _index(look: float, epochs: int) -> int:
    """Returns the epoch, from 0, that ends the part ``look`` of a schedule."""
    return max(0, math.ceil(look * epochs - 1e-9) - 1)
