"""The evaluation protocol: how thoroughly candidates are screened, on which rows finalists are confirmed.

Screening on two splits with one seed ranks networks well enough (splits tell more than seeds); what is left is the
selection's own optimism, so that finalists are trained again on splits no trial was chosen on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from nas.dataset import Dataset, Split
from nas.metrics import DEFAULT
from nas.record import Fidelity, Record

if TYPE_CHECKING:
    from nas.training import Halving

FINALISTS = 3  # trained again before one is named
CONFIRM_SPLITS = 4  # fresh splits for that
FRESH = 1_000_003  # added to a search's seed for splits that no trial has seen
STEPS, MOST_EPOCHS = 200, 100  # gradient steps aimed at, and the epochs they may take at most
EPOCHS: Mapping[str, int] = {"tabular": 16, "image": 8, "series": 16}  # and at least
ROWS: Mapping[str, int] = {"tabular": 10_000, "image": 4_000, "series": 4_000}  # to train one evaluation on, at most
FACTOR, RUNGS = 3, 2  # of Hyperband: of those under way a third goes on, at two epochs of the schedule at most
REFIT = 8  # how many times the rows x epochs of a screening training the final one may see


def default_fidelity(dataset: Dataset) -> Fidelity:
    """Enough to rank networks: about 200 steps on at most 10,000 rows (4,000 images or series), on two splits."""
    from nas.training import batch_size

    rows = max(1, min(int(0.75 * len(dataset)), ROWS[dataset.kind]))
    steps = max(1, rows // batch_size(rows))
    return Fidelity(epochs=min(max(round(STEPS / steps), EPOCHS[dataset.kind]), MOST_EPOCHS), rows=rows, splits=2)


@dataclass(frozen=True)
class Bracket:
    """Candidates that are trained together in Hyperband: how many, and the epochs after which a third of them goes on.

    ``epochs`` are those of the whole schedule.
    """

    size: int
    rungs: tuple[int, ...]
    epochs: int

    def pruner(self, together: int) -> Halving | None:
        """Returns what stops candidates at the rungs, but at those after which as many as are ``together`` go on.

        So the best of a bracket that was cut short there are not compared again where the others stopped; of a space
        that has no more candidates these few are not halved as early.
        """
        from nas.training import Halving

        rungs = [r for k, r in enumerate(self.rungs, 1) if math.ceil(self.size / FACTOR**k) < together]
        return Halving(FACTOR, rungs[0]) if rungs else None

    @property
    def share(self) -> float:
        """Part of the schedule that a candidate is trained for on average."""
        total, left, before = 0, self.size, 0
        for stage in (*self.rungs, self.epochs):
            total += left * (stage - before)
            left, before = math.ceil(left / FACTOR), stage
        return total / (self.size * self.epochs)


@dataclass(frozen=True)
class Rounds:
    """Brackets one after the other, again and again: trial 0 begins the first."""

    brackets: tuple[Bracket, ...]

    def at(self, number: int) -> tuple[Bracket, int]:
        """Returns the bracket a trial is of, and how many of it are left from that one on."""
        place = number % sum(bracket.size for bracket in self.brackets)
        for bracket in self.brackets:
            if place < bracket.size:
                return bracket, bracket.size - place
            place -= bracket.size
        raise AssertionError("a place within a round is within one of its brackets")

    def whole(self, trials: int) -> int:
        """Returns how many trials there are when the bracket of the last one is complete."""
        return trials - 1 + self.at(trials - 1)[1]


def one_by_one(epochs: int) -> Rounds:
    """Returns the rounds of a search that trains every candidate to the end."""
    return Rounds((Bracket(1, (), epochs),))


def hyperband(epochs: int) -> Rounds:
    """Returns the rounds of Hyperband (Li et al. 2018, algorithm 1) for a schedule of so many epochs.

    Each bracket costs about as much as the others: many candidates that are looked at early, fewer that are looked at
    later, and some that are trained to the end whatever comes of them, one at a time.
    """
    from nas.training import Halving

    rungs = tuple(Halving(FACTOR).rungs(epochs))[-RUNGS:]
    most = len(rungs)
    some = [Bracket(math.ceil((most + 1) / (s + 1) * FACTOR**s), rungs[-s:], epochs) for s in range(most, 0, -1)]
    return Rounds((*some, *[Bracket(1, (), epochs)] * (most + 1)))


def metric_of(dataset: Dataset) -> str:
    """The default metric, what the score is minus: ``brier`` in classification, ``nrmse`` in regression."""
    return DEFAULT[dataset.task]


def fresh_splits(dataset: Dataset, seed: int, part: int = 1) -> list[Split]:
    """New partitions of the same rows: part 1 confirms the finalists, part 2 compares the one that was named."""
    return dataset.splits(CONFIRM_SPLITS, seed + part * FRESH)


def stop_epoch(record: Record) -> int:
    """The median of the best epochs of a record's splits, counted from 1."""
    best = record.outcome.best_epochs
    return max(1, round(median(best))) if best else record.fidelity.epochs


def refit_epochs(record: Record, rows: int) -> tuple[int, int]:
    """Length of the schedule and the epoch to stop at when training on ``rows`` rows for keeps.

    The record's own, shortened in proportion where so many more rows make it more than ``REFIT`` times the work.
    """
    epochs, stop = record.fidelity.epochs, stop_epoch(record)
    affordable = max(1, round(REFIT * stop * record.fidelity.rows / max(rows, 1)))
    if affordable >= stop:
        return epochs, stop
    return max(round(epochs * affordable / stop), affordable), affordable
