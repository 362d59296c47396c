"""Where the candidates of a search are trained, how long each may take there, and what becomes of one that fails.

Here belongs what joins ``nas.evaluation`` (what a training is) and ``nas.executors`` (where a call runs).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nas.evaluation import Evaluator, Group, trainer
from nas.executors import Done, Failed, Here, Processes
from nas.loop.estimate import TIMING
from nas.record import Cost, Outcome

GRACE = 5.0  # seconds after its time in which a candidate in a process of its own may still stop by itself
SLOWEST, HANGING, FIRST = 20.0, 600.0, 3600.0
"""Without a limit a process is ended when its candidate has taken so many times what the slowest one took, and at least
so many seconds; while no other has been trained, after so many."""


def place_of(
    evaluator: Evaluator, workers: int, candidate_seconds: float | None, slowest: Callable[[], float]
) -> Here | Processes:
    """Returns this process for one worker, unless a candidate that hangs must be ended; else processes.

    Args:
        evaluator: Of the search.
        workers: Candidates trained at the same time.
        candidate_seconds: That screening one may take, None for what is usual.
        slowest: Returns the most seconds that screening one took so far, 0 where there is none.
    """
    import torch

    given = evaluator.circumstances(candidate_seconds)
    if workers == 1 and candidate_seconds is None:
        return Here(trainer, given)

    def patience(group: Group) -> float:
        limit = given.limit(group)
        if limit is None:
            limit = (max(SLOWEST * slowest(), HANGING) if slowest() else FIRST) * given.share(group)
        if group.epochs is not None:
            limit = min(limit, TIMING)
        together = limit * len(group.choices)
        return GRACE + (together if group.until is None else max(0.0, min(together, group.until - time.monotonic())))

    threads = torch.get_num_threads() if workers == 1 else 1
    return Processes(trainer, given, workers=workers, threads=threads, seconds=patience)


def outcomes(result: Done | Failed, device: str) -> list[Outcome]:
    """Returns what came of a group; of a process that was ended or died, that of its only candidate."""
    if isinstance(result, Done):
        found: list[Outcome] = result.value
        return found
    cost = Cost(result.seconds, device=device)
    return [Outcome("timeout" if result.kind == "timeout" else "error", result.message, cost=cost)]
