"""Several searches, one history: what was found, against what, and whom each search listened to.

``python -m benchmarks.one_history --out FILE.json [--trials 8] DATA [DATA ...]``

DATA are paths or bundled names. The history begins with the shipped knowledge alone and lies beside FILE.json; every
search after the first may listen to those before it. A fifth of the rows is set aside and scored once.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.record import write
from nas.dataset import load
from nas.loop import Search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    history = options.out.with_suffix(".work.db")
    rows = []
    for data in options.data:
        rows.append(row(data, options.trials, history))
        print(line(rows[-1]), flush=True)
    write(options.out, {"trials": options.trials, "rows": rows})


def row(data: str, trials: int, history: Path) -> dict[str, Any]:
    started = time.monotonic()
    with Search(load(data), trials=trials, history=history, test=0.2) as search:
        for _ in search.run():
            pass
        result = search.finish()
    searched = time.monotonic() - started
    comparison = result.compare()
    explanation = result.explain()
    print(f"\n{result.dataset.name}: {result.whole.describe()}\n{explanation}", flush=True)
    return {
        "dataset": result.dataset.name,
        "metric": comparison.metric,
        "found": result.best.architecture.summary(),
        "contenders": {
            c.name: {
                "value": c.value,
                "error": c.error,
                "found minus this": c.difference,
                "its error": c.difference_error,
            }
            for c in comparison.contenders
        },
        "advice": comparison.advice,
        "test": result.test_metrics(),
        "seconds": {"search": searched, "with comparison": time.monotonic() - started},
        "weights": dict(explanation.weights),
        "own": explanation.own,
        "ignored": dict(explanation.ignored),
    }


def line(row: dict[str, Any]) -> str:
    values = "  ".join(f"{name} {c['value']:.4f} ±{c['error']:.4f}" for name, c in row["contenders"].items())
    seconds = row["seconds"]["search"]
    return f"{row['dataset']}: {row['metric']}  {values}  ({seconds:.0f} s searching)  -> {row['advice']}"


if __name__ == "__main__":
    main()
