"""How long a search will take about, from a few short trainings timed before it begins.

Here belongs what is timed and how it is added up. Nothing of it is recorded, nor told to a controller.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.evaluation import Evaluator
from nas.executors import Executor, Failed
from nas.protocol import CONFIRM_SPLITS

if TYPE_CHECKING:
    from nas.space import Choices

TIMED, ENOUGH = 8, 4.0  # candidates timed at most, and the seconds after which no further one is
SHARE = 0.1  # of the time of a search that timing may take
TIMING = 60.0  # seconds after which one that is timed in a process of its own is ended
ABREAST = 0.5  # cost of a split of a finalist in those of a screening: more are side by side, and they stop earlier


@dataclass(frozen=True)
class Pace:
    """Seconds that one screening and one confirmation of a finalist take about."""

    screening: float
    confirmation: float


def pace(evaluator: Evaluator, likely: Sequence[Choices], executor: Executor, until: float | None = None) -> Pace:
    """Returns how fast candidates are trained, by timing the first of ``likely`` ones, or random ones.

    The space's default is trained for one epoch and for a quarter of the schedule: what an epoch takes and what a
    training takes besides follow from the two. The others are trained for that quarter. One that hangs is ended by an
    ``executor`` that can do so, and counts for ``TIMING`` seconds. Where ``until``, a ``time.monotonic()``, comes
    before all is timed, a training counts as endless.
    """
    rng, clock = np.random.default_rng(evaluator.seed), _clock(evaluator, executor, until)
    default, epochs = evaluator.space.default(), evaluator.fidelity.epochs
    likely = list(likely) or [evaluator.space.sample(rng) for _ in range(TIMED)]
    few = max(2, epochs // 4)
    if (first := clock(default, 1)) >= TIMING:  # torch loads much when it is first used
        return Pace(first, first)  # it hangs, so that nothing else need be timed
    if _over(until):
        return Pace(math.inf, math.inf)
    end = time.perf_counter() + ENOUGH
    one = clock(default, 1)
    epoch = max(0.0, min(one, (clock(default, few) - one) / (few - 1)))
    besides = one - epoch
    taken: list[float] = []
    for choices in likely[:TIMED]:
        taken.append(max(0.0, clock(choices, few) - besides) / few)
        if time.perf_counter() > end:
            break
    if _over(until):
        return Pace(math.inf, math.inf)
    screening, more = besides + epochs * float(np.mean(taken)), CONFIRM_SPLITS / evaluator.fidelity.splits
    return Pace(screening, ABREAST * more * screening)


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _clock(evaluator: Evaluator, executor: Executor, until: float | None) -> Callable[[Choices, int], float]:
    """Returns what says how many seconds a candidate takes for so many epochs."""

    def seconds(choices: Choices, epochs: int) -> float:
        ((_, result),) = executor.run([evaluator.group([choices], epochs=epochs, until=until)])
        return max(result.seconds, TIMING) if isinstance(result, Failed) else float(result.value[0].cost.seconds)

    return seconds
