"""Where the candidates of a search are trained, how long each may take there, and what becomes of one that fails.

Here belongs what joins ``nas.evaluation`` (what a training is) and ``nas.executors`` (where a call runs).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.evaluation import Evaluator, Group, trainer
from nas.executors import Done, Failed, Here, Processes
from nas.loop.estimate import TIMING
from nas.record import Cost, Outcome

if TYPE_CHECKING:
    from nas.training import Busy

GRACE = 5.0  # seconds after its time in which a candidate may still stop by itself
SLOWEST, HANGING, FIRST = 20.0, 600.0, 3600.0
"""Without a limit a process is ended when its candidate has taken so many times what the slowest one took, and at least
so many seconds; while no other has been trained, after so many."""


def place_of(
    evaluator: Evaluator,
    workers: int,
    candidate_seconds: float | None,
    slowest: Callable[[], float],
    end: float = math.inf,
) -> Here | Processes:
    """Returns this process for one worker, unless a candidate that hangs must be ended; else processes.

    Args:
        evaluator: Of the search.
        workers: Candidates trained at the same time.
        candidate_seconds: That screening one may take, None for what is usual.
        slowest: Returns the most seconds that screening one took so far, 0 where there is none.
        end: ``time.monotonic()`` at which the search is over.
    """
    import torch

    given = evaluator.circumstances(candidate_seconds)
    if workers == 1 and candidate_seconds is None:
        return Here(trainer, given, seconds=lambda group, busy: _left(group))

    def patience(group: Group, busy: Busy | None) -> float:
        limit, together = given.limit(group), len(group.choices if busy is None else busy.who)
        if limit is None:
            limit = (max(SLOWEST * slowest(), HANGING) if slowest() else FIRST) * given.share(group)
        elif busy is not None:  # it keeps to that itself, unless it hangs
            limit = busy.seconds / together
        seconds = limit * together
        if group.epochs is not None:
            seconds = min(seconds, TIMING)
        return min(GRACE + seconds, _left(group))

    threads = torch.get_num_threads() if workers == 1 else 1
    return Processes(trainer, given, workers=workers, threads=threads, seconds=patience, until=end + GRACE)


def _left(group: Group) -> float:
    """Seconds until a group is ended because the search is over."""
    return math.inf if group.until is None else GRACE + max(0.0, group.until - time.monotonic())


def outcomes(result: Done | Failed, device: str) -> list[Outcome]:
    """Returns what came of a group; of a process that was ended or died, that of its only candidate."""
    if isinstance(result, Done):
        found: list[Outcome] = result.value
        return found
    cost = Cost(result.seconds, device=device)
    return [Outcome("timeout" if result.kind == "timeout" else "error", result.message, cost=cost)]


def apart(evaluator: Evaluator, group: Group, failed: Failed) -> tuple[Group, list[Group]]:
    """Returns whose fault it was that a group failed, nobody where that is not known, and how the others are trained.

    They begin again, because what was trained went with its process, but as a group, so that most of them stop early
    all the same. Where several were under way, each half of these is a group.
    """
    size = len(group.choices)
    who = failed.busy.who if failed.busy is not None else tuple(range(size))
    guilty, parts = who[:1], [tuple(n for n in range(size) if n not in who)]
    if len(who) > 1:
        half = -(-len(who) // 2)
        guilty, parts = (), [who[:half], who[half:], *parts]
    chosen = [[group.choices[n] for n in part] for part in parts if part]
    others = [evaluator.group(some, group.pruner if len(some) > 1 else None) for some in chosen]
    return evaluator.group([group.choices[n] for n in guilty], until=group.until), others
