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
        risk: A training stops where its chance is below this. On past searches most winners are kept per epoch at about
            .1; those that are lost then lie within a standard error of what is kept (``benchmarks.training``).
    """

    def __init__(self, past: Sequence[Sequence[Curve]], best: Curve | None = None, risk: float = 0.1) -> None:
        if not 0.0 < risk < 1.0:
            raise SearchError(f"`0 < risk < 1` must hold, but got {risk=}.")
        self.risk = risk
        self.complete: list[_Curve] = []
        self._chances = _learned(past)
        if best is not None:
            self.tell(best, len(best))

    @property
    def best(self) -> np.ndarray | None:
        """The best complete curve of this search, as its best score so far at each epoch."""
        return max(self.complete, key=lambda curve: curve.end).values if self.complete else None

    @property
    def knows(self) -> bool:
        """Whether the past sufficed for a rule; without one nothing is stopped."""
        return bool(self._chances)

    def tell(self, curve: Curve, epochs: int) -> None:
        """Takes a curve of this search on a schedule of ``epochs``; a shorter one was stopped, and says nothing."""
        if len(curve) == epochs and _usable(curve):
            self.complete.append(_Curve(curve, epochs))

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs after which trainings are looked at."""
        return sorted({_index(look, epochs) + 1 for look in LOOKS} - {epochs})

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns the trainings with too small a chance."""
        looks = [i for i, look in enumerate(LOOKS) if _index(look, epochs) + 1 <= epoch]
        if not (self.complete and looks and self._chances):
            return set()
        chance, now = self._chances[looks[-1]], slice(looks[-1], looks[-1] + 1)
        numbers = [i for i, curve in enumerate(curves) if _usable(curve, fewest=1)]
        standings = [_standing(_Curve(curves[i], epochs), self.complete, now)[0] for i in numbers]
        return {i for i, standing in zip(numbers, standings, strict=True) if chance.of(standing) < self.risk}


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


class _Curve:
    """A curve as its best score so far: ``values`` at each epoch, ``at`` each look, and ``rise`` since half of it.

    It may be of the first epochs of ``epochs``; looks after its last one are of that.
    """

    def __init__(self, curve: Curve, epochs: int) -> None:
        self.values = np.maximum.accumulate(np.asarray(curve, dtype=float))
        self.end = float(self.values[-1])
        places = np.minimum([_index(look, epochs) for look in LOOKS], len(self.values) - 1)
        self.at = self.values[places]
        self.rise = self.at - self.values[places // 2]


def _learned(past: Sequence[Sequence[Curve]]) -> list[_Chance]:
    """Returns the chance at each look; empty where history is too short."""
    inputs: list[np.ndarray] = []
    outcomes: list[bool] = []
    rng = np.random.default_rng(0)
    for curves in past:
        usable = [_Curve(curve, len(curve)) for curve in curves if _usable(curve)]
        for _ in range(ORDERS):
            order = [usable[i] for i in rng.permutation(len(usable))]
            for i in range(1, len(order)):
                inputs.append(_standing(order[i], order[:i], slice(None)))
                outcomes.append(order[i].end > max(each.end for each in order[:i]))
    if sum(outcomes) < FEWEST:
        return []
    return [_Chance(x, np.asarray(outcomes, dtype=float)) for x in np.stack(inputs, axis=1)]


def _standing(curve: _Curve, complete: Sequence[_Curve], looks: slice) -> np.ndarray:
    """Returns where a training stands among complete ones at these looks, [looks, 12].

    Differences are over the size of the best score, logarithmic from about 1 / 20 on.
    """
    best = max(complete, key=lambda each: each.end)
    now, then = curve.at[looks], np.array([each.at[looks] for each in complete])
    ends = np.array([each.end for each in complete])
    size = abs(best.end) + 1e-12
    behind_end, gained = (best.end - now) / size, (ends[:, None] - then) / size
    most, ones = gained.max(axis=0), np.ones(len(now))
    numbers = np.stack(
        [
            (best.at[looks] - now) / size,
            behind_end,
            curve.rise[looks] / size,
            best.rise[looks] / size,
            most,
            np.median(gained, axis=0),
            ends.std() / size * ones,
            (then > now).mean(axis=0),
            len(complete) * ones,
            np.searchsorted(best.values, now) / len(best.values),
            behind_end / ((best.end - best.at[looks]) / size + 1e-3),
            behind_end / (most + 1e-3),
        ],
        axis=1,
    )
    found: np.ndarray = np.sign(numbers) * np.log1p(20.0 * np.abs(numbers))
    return found


def _usable(curve: Curve, fewest: int = 2) -> bool:
    return len(curve) >= fewest and bool(np.isfinite(np.asarray(curve, dtype=float)).all())


def _index(look: float, epochs: int) -> int:
    """Returns the epoch, from 0, that ends the part ``look`` of a schedule."""
    return max(0, math.ceil(look * epochs - 1e-9) - 1)
