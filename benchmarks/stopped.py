"""What stopping trainings by the curves of past ones saves: ``HistoryPruner`` on held-out datasets of the pack.

The row of ``benchmarks.training`` that trains nothing: recorded curves are gone through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from benchmarks.rows import Row, row
from nas.metadataset import shipped
from nas.record import Outcome
from nas.training import HistoryPruner

FORESEEN = (0.1, 0.2, 0.35, 0.5)  # parts of a schedule


def pruned(demanded: float, held_out: int = 20, orders: int = 5) -> Row:
    """Returns the share of epochs a search needs for the same best score when history stops its trainings.

    The trainings of a held-out dataset are gone through in random orders. A search without a pruner does the first
    half. With one, which has learned from all other families, it goes through the same order until its best score is
    that of the half, on through the other half where it stopped the best one. ``_gone_through`` says what else is told.
    """
    with shipped() as history:
        trained = [
            (past.info.family, [record.outcome for record in past.records if len(record.outcome.curve) > 1])
            for past in history.past()
        ]
    rng, found = np.random.default_rng(0), []
    for family, own in trained[:: max(1, len(trained) // held_out)][:held_out]:
        pruner = HistoryPruner([[each.curve for each in some] for other, some in trained if other != family])
        found += [_gone_through(pruner, [own[i] for i in rng.permutation(len(own))]) for _ in range(orders)]
    shares = [each.pop("share") for each in found]
    more = {name: round(float(np.mean([each[name] for each in found])), 3) for name in found[0]}
    name = f"HistoryPruner: share of epochs for the same best score, {held_out} held-out datasets"
    return {**row(name, shares, demanded), "mean": round(float(np.mean(shares)), 3), **more}


def _gone_through(pruner: HistoryPruner, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns what a pruner does to a search that trains these in order.

    ``share``: of the epochs of the first half without a pruner. ``never``: whether its best score was not reached, and
    ``never within its error``, not even one a standard error below. ``share_of_pool``: of the epochs of all trainings,
    with no regard to what was found; ``same_best``: whether the best of all was among what went on; ``regret``: how far
    its best is below, over the difference of best and median. ``foreseen at``: the share if it were known from that
    part of a schedule on which trainings end above the best so far, and no other went on.
    """
    curves = [each.curve for each in outcomes]
    half, ends, lengths = len(curves) // 2, np.array([max(curve) for curve in curves]), [len(curve) for curve in curves]
    spent, bests = _pruned(pruner, curves)
    best, plain = int(ends[:half].argmax()), sum(lengths[:half])
    there = np.flatnonzero(np.array(bests) >= ends[best])
    return {
        "share": (spent[max(half - 1, there[0])] if len(there) else spent[-1]) / plain,
        "never": not len(there),
        "never within its error": bests[-1] < ends[best] - (outcomes[best].standard_error or 0.0),
        "share_of_pool": spent[-1] / sum(lengths),
        "same_best": bests[-1] == ends.max(),
        "regret": (ends.max() - bests[-1]) / (ends.max() - np.median(ends) + 1e-12),
        **{f"foreseen at {look}": _foreseen(curves[:half], look) / plain for look in FORESEEN},
    }


def _foreseen(curves: Sequence[Sequence[float]], look: float) -> int:
    """Returns the epochs of a search in which only those go on after a look that end above the best before them."""
    bests = np.maximum.accumulate([-np.inf, *map(max, curves)])
    return sum(
        len(curve) if max(curve) > best else math.ceil(look * len(curve))
        for curve, best in zip(curves, bests, strict=False)
    )


def _pruned(learned: HistoryPruner, curves: Sequence[Sequence[float]]) -> tuple[list[int], list[float]]:
    """Returns the epochs spent and the best score after each training of a search; ``learned`` is told of none."""
    pruner = deepcopy(learned)
    spent, bests, used = [], [], 0
    for curve in curves:
        epochs = len(curve)
        stop = next((e for e in pruner.rungs(epochs) if pruner.stops(e, epochs, [curve[:e]])), epochs)
        used += stop
        if stop == epochs:
            pruner.tell(curve, epochs)
        assert pruner.best is not None
        spent.append(used)
        bests.append(float(pruner.best[-1]))
    return spent, bests
