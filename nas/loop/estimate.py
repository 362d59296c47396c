"""How long a search will take about, from a few short trainings timed before it begins.

Here belongs what is timed and how it is added up. Nothing of it is recorded, nor told to a controller.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.evaluation import Evaluator, Group, trainer
from nas.protocol import CONFIRM_SPLITS

if TYPE_CHECKING:
    from nas.space import Choices

TIMED, TIMING = 8, 4.0  # candidates timed at most, and the seconds after which no further one is
STOPPED = 0.8  # part of the schedule after which finalists stop, about


@dataclass(frozen=True)
class Pace:
    """Seconds that one screening and one confirmation of a finalist take about."""

    screening: float
    confirmation: float


def pace(evaluator: Evaluator, likely: Sequence[Choices]) -> Pace:
    """Returns how fast candidates are trained, by timing the first of ``likely`` ones, or random ones.

    The space's default is trained for one epoch and for three: what an epoch takes and what a training takes besides
    follow from the two. The others are trained for one epoch each.
    """
    rng = np.random.default_rng(evaluator.seed)
    default, epochs = evaluator.space.default(), evaluator.fidelity.epochs
    likely = list(likely) or [evaluator.space.sample(rng) for _ in range(TIMED)]
    _seconds(evaluator, evaluator.group([default]), 1)  # torch loads much when it is first used
    end = time.perf_counter() + TIMING
    one = _seconds(evaluator, evaluator.group([default]), 1)
    epoch = max(0.0, min(one, (_seconds(evaluator, evaluator.group([default]), 3) - one) / 2))
    besides = one - epoch
    taken: list[float] = []
    for choices in likely[:TIMED]:
        taken.append(max(0.0, _seconds(evaluator, evaluator.group([choices]), 1) - besides))
        if time.perf_counter() > end:
            break
    mean, more = float(np.mean(taken)), CONFIRM_SPLITS / evaluator.fidelity.splits
    fresh = _seconds(evaluator, replace(evaluator.group([default]), stop=1), 1)
    share = max(1.0, (fresh - more * besides) / epoch) if epoch else more  # an epoch on more splits, side by side
    return Pace(besides + epochs * mean, more * besides + STOPPED * epochs * mean * min(more, share))


def _seconds(evaluator: Evaluator, group: Group, epochs: int) -> float:
    train = trainer(replace(evaluator.circumstances(), fidelity=replace(evaluator.fidelity, epochs=epochs)))
    started = time.perf_counter()
    train(group)
    return time.perf_counter() - started
