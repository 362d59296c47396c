"""At equal cost, does stopping candidates early (Hyperband, learning curves of the past) find better networks?

``python -m benchmarks.fidelity --out FILE.json [--datasets DIR] [--names ...] [--seeds 3] [--trials 11]
[--controller random]``

``plain`` trains ``trials`` candidates to the end. The others go on until another candidate, or group of Hyperband,
might take them over the epochs that costs.

On record: who goes on ends with the bits of who was never looked at, so that searches of the candidates of the shipped
knowledge, in random orders, follow from their learning curves. ``history`` learns from all other families. Compared is
the regret of the best one trained to the end, (best - it) / (best - median), with a bootstrap over datasets.

Searched (with ``--datasets``): small tables of families that the shipped knowledge lacks, the same seeds, splits and
controller. Each search names its network as always, by fresh splits. Compared is the loss (Brier score, RMSE over the
deviation of the target) of that network, trained again, on 30 % of the rows that were set aside: 1 - its loss / that of
``plain``, with a bootstrap over searches. An interrupted run goes on: searches that ended are in ``FILE.rows.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.warm_start import table
from nas.dataset import Dataset
from nas.loop import Search
from nas.loop.stopping import complete_curves
from nas.metadataset import shipped
from nas.protocol import hyperband, one_by_one
from nas.training import HistoryPruner
from nas.training.pruner import Curve

ARMS = {"plain": None, "hyperband": "hyperband", "history": "history"}
NAMES = ("concrete", "space_ga", "banana", "credit_g")  # small, of families that the shipped knowledge lacks
ASIDE = 0.3
ORDERS = 10  # of the candidates on record
MANY = 1_000  # trials, more than any budget pays


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--names", nargs="+", default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=11, help="of the plain search")
    parser.add_argument("--controller", default="random", help="of all searches; meta learns from what is shipped")
    options = parser.parse_args()
    result: dict[str, Any] = {"on record": on_record(options.trials)}
    print(json.dumps(result, indent=1), flush=True)
    if options.datasets:
        rows = searches(options)
        result["searched"] = {arm: compared(rows, arm) for arm in ARMS if arm != "plain"}
        print(json.dumps(result["searched"], indent=1))
        result["rows"] = rows
    write(options.out, result)


def on_record(trials: int) -> dict[str, Any]:
    """Returns by how much smaller the regret is than that of a plain search, over the shipped datasets."""
    with shipped() as pack:
        past = [(each.info.family, complete_curves([each])[0]) for each in pack.past()]
    rng = np.random.default_rng(0)
    regrets: dict[str, list[float]] = {arm: [] for arm in ARMS}
    counts: dict[str, list[int]] = {arm: [] for arm in ARMS}
    for family, curves in past:
        pruner = HistoryPruner([some for other, some in past if other != family])
        orders = [[curves[i] for i in rng.permutation(len(curves))] for _ in range(ORDERS)]
        ends = np.array([max(curve) for curve in curves])
        for arm in ARMS:
            found = [replayed(arm, order, pruner, trials) for order in orders]
            lost = [(ends.max() - best) / (ends.max() - np.median(ends)) for best, _ in found]
            regrets[arm].append(float(np.mean(lost)))
            counts[arm] += [count for _, count in found]
    return {
        "datasets": len(past),
        "orders": ORDERS,
        "regret": {arm: float(np.mean(values)) for arm, values in regrets.items()},
        "candidates": {arm: float(np.mean(values)) for arm, values in counts.items()},
        "regret smaller by": {
            arm: gain(np.array(regrets["plain"]) - np.array(values))
            for arm, values in regrets.items()
            if arm != "plain"
        },
    }


def replayed(arm: str, curves: Sequence[Curve], pruner: HistoryPruner, trials: int) -> tuple[float, int]:
    """Returns the best end, and how many candidates were begun for the epochs of ``trials`` whole trainings."""
    epochs = len(curves[0])
    rounds = hyperband(epochs) if arm == "hyperband" else one_by_one(epochs)
    pruner.restart()
    left, number, best = trials * epochs, 0, -np.inf
    while number < len(curves):
        bracket, size = rounds.at(number)
        if left < bracket.share * size * epochs - 1e-9:
            break
        group = list(curves[number : number + size])
        number += len(group)
        rule = (bracket.pruner if size > 1 else pruner if arm == "history" else None) or Whole()
        lengths = [epochs] * len(group)
        for rung in rule.rungs(epochs):
            under_way = [i for i, length in enumerate(lengths) if length == epochs]
            for place in rule.stops(rung, epochs, [group[i][:rung] for i in under_way]):
                lengths[under_way[place]] = rung
        left -= sum(lengths)
        for curve, length in zip(group, lengths, strict=True):
            pruner.tell(curve[:length], epochs)
            best = max(best, max(curve) if length == epochs else -np.inf)
    return best, number


class Whole:
    """Stops nothing."""

    def rungs(self, epochs: int) -> Sequence[int]:
        return ()

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        return set()


def gain(differences: np.ndarray) -> dict[str, Any]:
    """Returns mean, bootstrap interval and how many are positive."""
    means = np.random.default_rng(0).choice(differences, (10_000, len(differences))).mean(axis=1)
    return {
        "mean": float(differences.mean()),
        "95 %": [float(each) for each in np.quantile(means, [0.025, 0.975])],
        "n": len(differences),
        "better": int((differences > 0).sum()),
        "worse": int((differences < 0).sum()),
    }


def searches(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns what became of each search, those of an earlier run first."""
    kept = options.out.with_suffix(".rows.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for seed in range(options.seeds):
        for name in options.names:
            for arm in ARMS:
                if not any((row["dataset"], row["seed"], row["arm"]) == (name, seed, arm) for row in rows):
                    data = table(options.datasets / f"{name}.npz")
                    row = searched(data, arm, seed, options.trials, options.controller)
                    rows.append({"dataset": name, "seed": seed, "arm": arm, **row})
                    with kept.open("a") as file:
                        print(json.dumps(rows[-1]), file=file)
                    print(rows[-1], flush=True)
    return rows


def searched(data: Dataset, arm: str, seed: int, trials: int, controller: str) -> dict[str, Any]:
    """Returns what a search of one kind found for the epochs of ``trials`` whole trainings."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        search = Search(
            data,
            trials=trials if arm == "plain" else MANY,
            fidelity=ARMS[arm],
            controller=controller,
            history=shipped(),
            storage=Path(folder) / "h.db",
            seed=seed,
            test=ASIDE,
        )
        whole = search.fidelity.epochs
        with search:
            for _ in search.run():
                if spent(search) + whole * next_cost(search) > trials * whole:
                    break
            result = search.finish()
        loss = result.test_metrics()[search.metric.name]
    return {
        "loss": loss,
        "confirmed": result.confirmation.score,
        "best": result.best.score,
        "candidates": len(search.records),
        "to the end": sum(record.fidelity.epochs == whole for record in search.records),
        "epochs": spent(search) / whole,
        "training seconds": sum(record.outcome.cost.seconds for record in search.records),
        "cpu seconds": time.process_time() - started,
    }


def spent(search: Search) -> int:
    """Epochs trained so far."""
    return sum(len(record.outcome.curve) or search.fidelity.epochs for record in search.records)


def next_cost(search: Search) -> float:
    """What the next group may cost, in whole trainings."""
    bracket, left = search._stopping.rounds.at(len(search.records))
    return bracket.share * left


def compared(rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Returns by how much smaller the loss is than that of the plain search, and what it took."""
    pairs = [
        (one, next(r for r in rows if (r["dataset"], r["seed"], r["arm"]) == (one["dataset"], one["seed"], "plain")))
        for one in rows
        if one["arm"] == arm
    ]
    gains = np.array([1 - one["loss"] / plain["loss"] for one, plain in pairs])
    return {
        "loss smaller by": gain(gains),
        "by dataset": {
            name: float(np.mean([g for g, (one, _) in zip(gains, pairs, strict=True) if one["dataset"] == name]))
            for name in dict.fromkeys(one["dataset"] for one, _ in pairs)
        },
        **{
            f"{what}, over plain": float(np.mean([one[what] / plain[what] for one, plain in pairs]))
            for what in ("epochs", "candidates", "training seconds", "cpu seconds")
        },
    }


if __name__ == "__main__":
    main()
