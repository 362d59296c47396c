"""At equal cost, does stopping candidates early (Hyperband, learning curves of the past) find better networks?

``python -m benchmarks.fidelity --out FILE.json [--datasets DIR] [--names ...] [--count 8] [--pool 33] [--trials 11]``

``plain`` trains ``trials`` candidates to the end. The others go on until another candidate, or group of Hyperband,
might take them over the epochs that costs. ``all`` is the ceiling: every candidate there is, to the end, whatever the
cost. Who goes on ends with the bits of who was never looked at, so that random searches follow from a pool of
candidates that were all trained to the end, gone through in many orders.

On record (without ``--datasets``): the pools are the candidates of the shipped knowledge; ``history`` learns from all
other families. Compared are the regret of the best one trained to the end, (best - it) / (best - median), and its loss,
by the scores that it was chosen by.

Held out (with ``--datasets``): pools of random candidates on the smallest tables of families that the shipped knowledge
lacks. Each search confirms its finalists on fresh splits and names one, as always. Compared is the loss (Brier score,
RMSE over the deviation of the target) of that network, trained again, on 30 % of the rows that were set aside. Pools
that are done are in ``FILE.rows.jsonl``.

Gains are 1 - loss / that of ``plain``, with a bootstrap over datasets. ``signal`` tells how far candidates differ on a
dataset: (median - least loss) / standard error of the least.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.warm_start import held_out, table
from nas.loop import Search
from nas.loop.stopping import complete_curves
from nas.metadataset import shipped
from nas.protocol import FINALISTS, hyperband, one_by_one
from nas.record import Record
from nas.training import HistoryPruner
from nas.training.pruner import Curve

ARMS = ("plain", "hyperband", "history", "all")
ASIDE = 0.3
ORDERS = 10  # of the candidates on record
SIGNAL = 2.0  # from which on candidates differ by more than the noise of a score


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--names", nargs="+", help="rather than the smallest")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--pool", type=int, default=33, help="candidates")
    parser.add_argument("--trials", type=int, default=11, help="of the plain search")
    options = parser.parse_args()
    if options.datasets:
        rows = pools(options)
        result: dict[str, Any] = {"held out": compared(rows), "rows": rows}
    else:
        result = {"on record": on_record(options.trials)}
    print(json.dumps(result, indent=1))
    write(options.out, result)


def on_record(trials: int) -> dict[str, Any]:
    """Returns what a search finds of the candidates that the shipped datasets have been tried with."""
    with shipped() as pack:
        past = [(each, complete_curves([each])[0]) for each in pack.past()]
    errors = [
        max((r for r in each.records if r.score is not None), key=_score).outcome.standard_error or 0.0
        for each, _ in past
    ]
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for (each, curves), error in zip(past, errors, strict=True):
        pruner = HistoryPruner([some for other, some in past if other.info.family != each.info.family])
        ends = np.array([max(curve) for curve in curves])
        orders = [rng.permutation(len(curves)) for _ in range(ORDERS)]
        gap = ends.max() - np.median(ends)
        rows.append({"dataset": each.info.name, "signal": float(gap / max(error, 1e-12))})
        for arm in ARMS:
            found = [to_the_end(arm, [curves[i] for i in order], pruner, trials) for order in orders]
            bests = [ends[order[whole]].max() for order, (whole, _) in zip(orders, found, strict=True)]
            rows[-1][arm] = {
                "loss": float(-np.mean(bests)),
                "regret": float(np.mean((ends.max() - bests) / gap)),
                "candidates": float(np.mean([begun for _, begun in found])),
            }
    others = ARMS[1:3]
    return {
        "datasets": len(rows),
        "orders": ORDERS,
        "regret": {arm: float(np.mean([row[arm]["regret"] for row in rows])) for arm in ARMS},
        "candidates": {arm: float(np.mean([row[arm]["candidates"] for row in rows])) for arm in ARMS},
        "regret smaller by": {
            arm: gain(np.array([row["plain"]["regret"] - row[arm]["regret"] for row in rows])) for arm in others
        },
        **compared([row for row in rows if row["plain"]["loss"] > 1e-6]),
    }


def to_the_end(arm: str, curves: Sequence[Curve], pruner: HistoryPruner, trials: int) -> tuple[list[int], int]:
    """Returns which candidates are trained to the end for the epochs of ``trials``, and how many are begun.

    ``pruner`` has been told of none of them, and is not.
    """
    epochs = len(curves[0])
    if arm == "all":
        return list(range(len(curves))), len(curves)
    rounds = hyperband(epochs) if arm == "hyperband" else one_by_one(epochs)
    history = deepcopy(pruner) if arm == "history" else None
    left, number, whole = trials * epochs, 0, []
    while number < len(curves):
        bracket, size = rounds.at(number)
        if left < bracket.share * size * epochs - 1e-9:
            break
        group = list(curves[number : number + size])
        rule = bracket.pruner(size) if size > 1 else history
        lengths = [epochs] * len(group)
        for rung in rule.rungs(epochs) if rule else ():
            assert rule
            under_way = [i for i, length in enumerate(lengths) if length == epochs]
            for place in rule.stops(rung, epochs, [group[i][:rung] for i in under_way]):
                lengths[under_way[place]] = rung
        left -= sum(lengths)
        for i, (curve, length) in enumerate(zip(group, lengths, strict=True), number):
            if history is not None:
                history.tell(curve[:length], epochs)
            if length == epochs:
                whole.append(i)
        number += len(group)
    return whole, number


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns by how much smaller the loss is than that of the plain search, for all and where candidates differ."""
    telling = [row for row in rows if row["signal"] > SIGNAL]
    return {
        f"loss smaller by, {name}": {
            arm: gain(np.array([1.0 - row[arm]["loss"] / row["plain"]["loss"] for row in some])) for arm in ARMS[1:]
        }
        for name, some in (("all", rows), (f"signal > {SIGNAL:g}", telling))
        if some
    }


def gain(differences: np.ndarray) -> dict[str, Any]:
    """Returns mean, bootstrap interval, median and how many are positive."""
    means = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(axis=1)
    return {
        "mean": float(differences.mean()),
        "95 %": [float(each) for each in np.quantile(means, [0.025, 0.975])],
        "median": float(np.median(differences)),
        "n": len(differences),
        "better": int((differences > 0).sum()),
        "worse": int((differences < 0).sum()),
    }


def pools(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns what becomes of the searches of each pool, those of an earlier run first."""
    kept = options.out.with_suffix(".rows.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    index = json.loads((options.datasets / "index.json").read_text())
    size = {entry["name"]: entry["n"] for entry in index}
    names = options.names or sorted(held_out(index, shipped(), len(index)), key=size.__getitem__)[: options.count]
    with shipped() as pack:
        pruner = HistoryPruner(complete_curves(pack.past()))
    for name in names:
        if all(row["dataset"] != name for row in rows):
            data = table(options.datasets / f"{name}.npz")
            with tempfile.TemporaryDirectory() as folder:
                search = Search(
                    data, trials=options.pool, controller="random", history=None, storage=f"{folder}/h.db", test=ASIDE
                )
                with search:
                    rows.append({"dataset": name, **searched(search, pruner, options.trials)})
            with kept.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def searched(search: Search, pruner: HistoryPruner, trials: int) -> dict[str, Any]:
    """Returns what searches for the epochs of ``trials`` whole trainings name of the candidates of this one."""
    pool = [record for record in search.run() if record.score is not None]
    scores = np.array([record.score for record in pool])
    named = naming(search, pool)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(pool)) for _ in range(ORDERS)]
    best = pool[int(scores.argmax())]
    row: dict[str, Any] = {
        "candidates": len(pool),
        "signal": float((scores.max() - np.median(scores)) / max(best.outcome.standard_error or 0.0, 1e-12)),
    }
    for arm in ARMS:
        found = [to_the_end(arm, [pool[i].outcome.curve for i in order], pruner, trials) for order in orders]
        wholes = [[int(order[i]) for i in whole] for order, (whole, _) in zip(orders, found, strict=True)]
        results = [named(whole) for whole in wholes]
        row[arm] = {
            "loss": float(np.mean([loss for _, loss in results])),
            "confirmed": float(np.mean([score for score, _ in results])),
            "best": float(np.mean([scores[whole].max() for whole in wholes])),
            "begun": float(np.mean([begun for _, begun in found])),
            "to the end": float(np.mean([len(whole) for whole in wholes])),
        }
    return row


def naming(search: Search, pool: Sequence[Record]) -> Callable[[Sequence[int]], tuple[float, float]]:
    """Returns what tells, of candidates trained to the end, the confirmed score and held-out loss of the one named."""
    result = search.finish()
    confirmed: dict[int, float] = {}
    losses: dict[int, float] = {}

    def named(whole: Sequence[int]) -> tuple[float, float]:
        finalists = sorted(whole, key=lambda i: -_score(pool[i]))[:FINALISTS]
        for i in finalists:
            if i not in confirmed:
                ((_, again),) = search._finalists.confirmed([pool[i]], math.inf)
                confirmed[i] = _score(again)
        best = max(finalists, key=confirmed.__getitem__)
        if best not in losses:
            losses[best] = replace(result, best=pool[best]).test_metrics()[search.metric.name]
        return confirmed[best], losses[best]

    return named


def _score(record: Record) -> float:
    return -np.inf if record.score is None else record.score


if __name__ == "__main__":
    main()
