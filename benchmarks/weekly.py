"""Do three trainings suffice for last week's data with 5 % more rows?

``python -m benchmarks.weekly --out FILE.json [--datasets wine breast_cancer diabetes] [--seeds 2] [--trials 10]``

Last week: a search of ``trials`` trainings on all but the last rows of a dataset (in an order drawn by the seed), with
the shipped knowledge. This week, on all rows, three searches: ``after last week`` (three trainings, with last week's
history), ``afresh`` (``trials`` trainings with the shipped knowledge alone), and the first three trainings of that. All
are compared by the score of their winner on the same fresh splits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import nas
from benchmarks.record import write
from nas.dataset import Dataset, load
from nas.result import Result

MORE, FEW = 0.05, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["wine", "breast_cancer", "diabetes"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=10, help="of a whole search")
    options = parser.parse_args()
    rows = []
    for name in options.datasets:
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                rows.append({"dataset": name, "seed": seed, **week(load(name), seed, options.trials, Path(folder))})
            print(rows[-1], flush=True)
    losses = np.array([row["afresh"] - row["after last week"] for row in rows])
    errors = np.array([row["error"] for row in rows])
    summary = {
        "searches": len(rows),
        "kin recognised": sum(row["recognised"] for row in rows),
        "last week's winner first": sum(row["winner first"] for row in rows),
        "afresh - after last week, mean score": float(losses.mean()),
        "standard deviation of it": float(losses.std(ddof=1)) if len(rows) > 1 else None,
        "not worse by more than two standard errors": int((losses <= 2 * errors).sum()),
        "afresh - its first three, mean score": float(
            np.mean([row["afresh"] - row["afresh, three trainings"] for row in rows])
        ),
    }
    print(summary)
    write(options.out, {"rows": rows, "summary": summary})


def week(data: Dataset, seed: int, trials: int, folder: Path) -> dict[str, Any]:
    """Returns what became of one dataset that grew."""
    order = np.random.default_rng(seed).permutation(len(data))
    whole = data.subset(order)
    before = data.subset(order[: round(len(data) / (1 + MORE))])
    last = nas.search(before, trials=trials, seed=seed, history=folder / "mine.db")
    after = nas.search(whole, trials=FEW, seed=seed, history=folder / "mine.db")
    three = nas.search(whole, trials=FEW, seed=seed, history=folder / "fresh.db")
    afresh = nas.search(whole, trials=trials, seed=seed, history=folder / "fresh.db")  # goes on with those three
    first, winner = after.records[0], last.best
    return {
        "rows": [len(before), len(whole)],
        "recognised": any("have been searched on before" in note for note in after.notes),
        "winner first": (first.architecture, dict(first.settings)) == (winner.architecture, dict(winner.settings)),
        "after last week": score(after),
        "afresh": score(afresh),
        "afresh, three trainings": score(three),
        "error": float(np.hypot(afresh.confirmation.outcome.standard_error, after.confirmation.outcome.standard_error)),
        "seconds": [sum(record.outcome.cost.seconds for record in found.records) for found in (after, afresh)],
    }


def score(result: Result) -> float:
    """Returns the winner's score on fresh splits, higher is better."""
    assert result.confirmation.score is not None
    return result.confirmation.score


if __name__ == "__main__":
    main()
