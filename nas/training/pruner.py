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
LOOKS = (0.1, 0.2, 0.35, 0.5, 0.7)  # parts of a schedule after which a pruner of one training looks at it
FEWEST = 20  # past winners from which a rule is made
ORDERS = 5  # in which the trainings of a past search are gone through, for more winners


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
    """Stops a training that lies further behind the best one than past trainings that still won ever did.

    How far one curve is behind another at a part of the schedule is the difference of their best scores until there,
    over the size of the other's best score at its end. From past searches it is known how far those were behind that
    ended above the best before them; a training stops where it is further behind than all but ``risk`` of these.

    Args:
        past: For each past search its complete curves, in the order they were trained; on any dataset.
        best: The best complete curve of this search, None until there is one.
        risk: Share of later winners that would have been stopped, for each time they are looked at.
    """

    def __init__(self, past: Sequence[Sequence[Curve]], best: Curve | None = None, risk: float = 0.02) -> None:
        if not 0.0 < risk < 1.0:
            raise SearchError(f"`0 < risk < 1` must hold, but got {risk=}.")
        self.best: np.ndarray | None = None
        self.limits = _limits(past, risk)
        if best is not None:
            self.tell(best)

    def tell(self, curve: Curve) -> None:
        """Takes a complete curve of this search, which may be the best one now."""
        usable = _running_best(curve)
        if usable is not None and (self.best is None or usable[-1] > self.best[-1]):
            self.best = usable

    def rungs(self, epochs: int) -> Sequence[int]:
        """Returns the epochs after which trainings are looked at."""
        return sorted({_index(look, epochs) + 1 for look in LOOKS} - {epochs})

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        """Returns the trainings that are too far behind the best one."""
        looks = [look for look in self.limits if _index(look, epochs) + 1 <= epoch]
        if self.best is None or not looks:
            return set()
        then = self.best[_index(epoch / epochs, len(self.best))]
        return {i for i, c in enumerate(curves) if _behind(then, max(c), self.best) > self.limits[looks[-1]]}


def _limits(past: Sequence[Sequence[Curve]], risk: float) -> dict[float, float]:
    """Returns how far behind a later winner was at most, risk aside, at each look; empty where history is too short."""
    behind: dict[float, list[float]] = {look: [] for look in LOOKS}
    for curves in past:
        usable = [curve for curve in map(_running_best, curves) if curve is not None]
        rng = np.random.default_rng(0)
        for _ in range(ORDERS):
            best: np.ndarray | None = None
            for i in rng.permutation(len(usable)):
                curve = usable[i]
                if best is not None and curve[-1] <= best[-1]:
                    continue
                if best is not None:
                    for look in LOOKS:
                        then, now = (c[_index(look, len(c))] for c in (best, curve))
                        behind[look].append(_behind(then, now, best))
                best = curve
    return {look: float(np.quantile(found, 1.0 - risk)) for look, found in behind.items() if len(found) >= FEWEST}


def _running_best(curve: Curve) -> np.ndarray | None:
    values = np.asarray(curve, dtype=float)
    return np.maximum.accumulate(values) if len(values) > 1 and np.isfinite(values).all() else None


def _behind(then: float, now: float, best: np.ndarray) -> float:
    return float((then - now) / (abs(best[-1]) + 1e-12))


def _index(look: float, epochs: int) -> int:
    """Returns the epoch, from 0, that ends the part ``look`` of a schedule."""
    return max(0, math.ceil(look * epochs - 1e-9) - 1)
