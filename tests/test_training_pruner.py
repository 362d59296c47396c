"""Pruners: successive halving against its arithmetic, history on curves whose ends are known, survivors bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_training_company import architecture, blobs

from nas.errors import SearchError
from nas.record import Fidelity
from nas.training import Candidate, Halving, HistoryPruner, train


def test_halving_keeps_the_best_third_at_rungs_a_factor_apart():
    assert list(Halving(3).rungs(27)) == [1, 3, 9]
    assert list(Halving(2, first=4).rungs(30)) == [7, 15]
    curves = [(-0.5, -0.1), (-0.3, -0.4), (-0.2, -0.6), (-0.1, -0.2), (-0.9, -0.8), (-0.7, -0.7)]
    assert Halving(3).stops(2, 27, curves) == {1, 2, 4, 5}
    assert Halving(3).stops(2, 27, curves[:1]) == set()
    with pytest.raises(SearchError, match="factor >= 2"):
        Halving(1)


def past(searches: int = 6, n: int = 40, epochs: int = 20) -> list[list[np.ndarray]]:
    """Curves that fall like a power of time to ends of their own, some slowly."""
    rng = np.random.default_rng(0)
    t = np.arange(1, epochs + 1) / epochs
    return [
        [
            -(end + 0.2 * t**-speed)
            for end, speed in zip(rng.uniform(0.1, 0.6, n), rng.uniform(0.2, 0.8, n), strict=True)
        ]
        for _ in range(searches)
    ]


def test_history_stops_what_never_came_back_and_spares_what_did():
    curves = past()
    best = max(curves[0], key=lambda curve: curve[-1])
    pruner = HistoryPruner(curves[1:], best)
    hopeless = tuple(best[:10] - 10.0)
    assert pruner.stops(10, 20, [hopeless, tuple(best[:10]), tuple(best[:10] - 1e-3)]) == {0}
    assert HistoryPruner(curves[1:]).stops(10, 20, [hopeless]) == set()  # nothing to beat yet
    assert HistoryPruner([], best).stops(10, 20, [hopeless]) == set()  # no history, no rule
    assert pruner.stops(10, 20, [(float("nan"),) * 10]) == set()  # it ends by itself
    assert list(pruner.rungs(20)) == [2, 3, 4, 6, 7, 9, 10, 12, 14, 16]
    assert list(pruner.rungs(1)) == []
    pruner.tell((-0.2, float("nan")), 2)
    pruner.tell((-0.1, -0.05), 20)  # it was stopped
    assert pruner.best is not None
    assert pruner.best[-1] == best[-1]
    scaled = HistoryPruner([[7.0 * curve for curve in search] for search in curves[1:]], 7.0 * best)
    under_way = [curve[:7] for curve in curves[0]]
    assert scaled.stops(7, 20, [7.0 * curve for curve in under_way]) == pruner.stops(7, 20, under_way)
    assert HistoryPruner(curves[1:]).best is None
    with pytest.raises(SearchError, match="risk"):
        HistoryPruner([], risk=0.0)


def test_history_saves_epochs_and_seldom_loses_the_winner():
    curves, rng = past(searches=12), np.random.default_rng(1)
    used = full = kept = 0
    for held_out in range(6):
        pruner = HistoryPruner([c for i, c in enumerate(curves) if i != held_out])
        for i in rng.permutation(len(curves[held_out])):
            curve = curves[held_out][i]
            stop = next((e for e in pruner.rungs(20) if pruner.stops(e, 20, [tuple(curve[:e])])), 20)
            used, full = used + stop, full + 20
            if stop == 20:
                pruner.tell(curve, 20)
        assert pruner.best is not None
        kept += pruner.best[-1] == max(curve[-1] for curve in curves[held_out])
    assert used < 0.5 * full
    assert kept >= 5


def test_who_is_promoted_ends_with_the_bits_of_who_was_never_looked_at():
    data = blobs()
    candidates = [Candidate(architecture("chain", w), {"learning_rate": r}) for w in (32, 48) for r in (0.001, 0.1)]
    options: dict[str, Any] = {"data": data, "splits": data.splits(2, 0), "fidelity": Fidelity(9, 10**6, 2), "seed": 0}
    found = train(candidates, **options, pruner=Halving(3))
    whole = train(candidates, **options)
    lengths = [len(outcome.curve) for outcome in found]
    assert sorted(lengths) == [1, 1, 3, 9]
    for one, other in zip(found, whole, strict=True):
        assert one.status == "complete"
        assert one.curve == other.curve[: len(one.curve)]
        if len(one.curve) == 9:
            assert (one.score, one.metrics, one.best_epochs) == (other.score, other.metrics, other.best_epochs)
    with pytest.raises(SearchError, match="needs curves"):
        train(candidates, **options, pruner=Halving(3), stop_epoch=2)
