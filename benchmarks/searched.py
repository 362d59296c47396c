"""A whole search on a table, whose networks are trained by ``nas.training`` and by the plain loop in turns.

The row of ``benchmarks.training`` that says what a user waits for.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.loops import one_by_one, plain
from benchmarks.rows import Row, operations, row
from nas.dataset import load
from nas.loop import Search
from nas.training.learn import Training, advance

PROFILED = 10  # one group in so many


def searched(data: Path, trials: int, demanded: float) -> Row:
    """Returns how many times as long a search on a table takes with the plain loop as its engine, in wall seconds.

    One search: each time networks are trained, the plain loop trains copies of the same ones in its turn. What the
    search takes with either engine is what it took without the trainings of the other. ``spread`` and ``n`` are of the
    trainings. Where it falls short, ``profiles`` holds the operations of the first epoch of every tenth group, trained
    once more outside the seconds, and ``outside`` the CPU seconds in which nothing was trained.
    """
    turns = _Turns()
    with tempfile.TemporaryDirectory() as folder, patch("nas.training.company.advance", turns):
        start = _clocks()
        history = Path(folder) / "history.db"
        with Search(load(data), trials=trials, history=None, storage=history, test=0.2) as search:
            done = len(list(search.run()))
            if done < trials:  # a search takes Ctrl-C for an early end, to be measured it must go on to its own
                raise KeyboardInterrupt
            search.finish()
        outside = _clocks() - start - turns.inside
    ours, others = np.array(turns.ours), np.array(turns.plain)  # [n, (wall, CPU)]
    seconds = np.array([outside + others.sum(axis=0), outside + ours.sum(axis=0)])  # of the plain loop and of ours
    name = f"nas.search on {data.stem}, {done} trials, wall time"
    found = {
        **row(name, others[:, 0] / ours[:, 0], demanded),
        "value": round(float(seconds[0, 0] / seconds[1, 0]), 3),
        "wall_seconds": seconds[:, 0].round(1).tolist(),
        "cpu_seconds": seconds[:, 1].round(1).tolist(),
        "cpu_ratio": round(float(seconds[0, 1] / seconds[1, 1]), 3),
        "outside": round(float(outside[1]), 1),
    }
    return {**found, "profiles": turns.profiles} if found["value"] < demanded else found


class _Turns:
    """Trains as ``advance`` does, and copies of the same networks with the plain loop; keeps (wall, CPU) seconds.

    inside: of all that happens here, profiles and what was interrupted included.
    """

    def __init__(self) -> None:
        self.ours: list[np.ndarray] = []
        self.plain: list[np.ndarray] = []
        self.profiles: list[dict[str, list[float]]] = []
        self.inside = np.zeros(2)

    def __call__(self, some: Sequence[Training], epoch: int, deadline: float = math.inf) -> None:
        """Trains all to the end of ``epoch``, which is their last."""
        assert all(training.state.epoch == 0 and epoch == training.budget.last for training in some)
        start = _clocks()
        try:
            if len(self.ours) % PROFILED == PROFILED - 1:
                self.profiles.append(operations(partial(advance, _copies(some), 1)))
            copies = _copies(some)
            ready = _clocks()
            one_by_one(plain, copies)
            between = _clocks()
            advance(some, epoch, deadline)
            end = _clocks()
            self.plain.append(between - ready)
            self.ours.append(end - between)
        finally:
            self.inside += _clocks() - start


def _copies(some: Sequence[Training]) -> list[Training]:
    copies = [copy.copy(training) for training in some]
    for each in copies:
        each.network = copy.deepcopy(each.network)
    return copies


def _clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])
