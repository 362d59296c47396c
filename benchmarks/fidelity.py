"""At equal cost, does stopping candidates early (Hyperband, learning curves of the past) find better networks?

``python -m benchmarks.fidelity --datasets DIR --out FILE.json [--names ...] [--seeds 3] [--trials 10]
[--controller random]``

``plain`` trains ``trials`` candidates to the end. The other searches, with the same seeds, splits, controller and
knowledge (what is shipped; none of the datasets is in it), go on until another candidate, or group of Hyperband, might
take them over the epochs that costs. Each names its network as searches do: the best of three on fresh splits, and only
a candidate that was trained to the end. Compared is the loss (Brier score, RMSE over the deviation of the target) of
that network, trained again, on 30 % of the rows that were set aside: 1 - its loss / that of ``plain``, with a
bootstrap over searches. An interrupted run goes on: finished searches are in ``FILE.rows.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.warm_start import table
from nas.dataset import Dataset
from nas.loop import Search
from nas.metadataset import shipped

ARMS = {"plain": None, "hyperband": "hyperband", "history": "history"}
NAMES = ("concrete", "space_ga", "yeast", "mfeat_zernike")  # small, of families that the shipped knowledge lacks
ASIDE = 0.3
MANY = 1_000  # trials, more than any budget pays


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=list(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=10, help="of the plain search")
    parser.add_argument("--controller", default="random", help="of all searches; meta learns from what is shipped")
    options = parser.parse_args()
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
    summary = {arm: compared(rows, arm) for arm in ARMS if arm != "plain"}
    print(json.dumps(summary, indent=1))
    write(options.out, {"summary": summary, "rows": rows})


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
    rng = np.random.default_rng(0)
    means = rng.choice(gains, (10_000, len(gains))).mean(axis=1)
    return {
        "n": len(gains),
        "loss smaller by": float(gains.mean()),
        "95 %": [float(each) for each in np.quantile(means, [0.025, 0.975])],
        "better": int((gains > 0).sum()),
        "same": int((gains == 0).sum()),
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
