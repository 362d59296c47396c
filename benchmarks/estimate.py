"""Is what a search says about its length, before the first trial, right within a factor of two?

``python -m benchmarks.estimate --out FILE.json [--datasets wine diabetes images series] [--trials 6]``

A search of each dataset, with the shipped knowledge: the seconds that were foretold, and those that its trials and the
confirmation of its finalists then took, in wall-clock time. On a busy machine both vary with its load, which is on
record. ``images`` and ``series`` are made up here; the other names are bundled.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from nas.dataset import Dataset, load
from nas.loop import Search

FACTOR = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--datasets", nargs="+", default=["wine", "diabetes", *MADE])
    parser.add_argument("--trials", type=int, default=6)
    options = parser.parse_args()
    rows = []
    for name in options.datasets:
        rows.append({"dataset": name, **timed(MADE[name]() if name in MADE else load(name), options.trials)})
        print(rows[-1], flush=True)
    ratios = [row["foretold / taken"] for row in rows]
    summary = {
        "searches": len(ratios),
        "within a factor of two": sum(1 / FACTOR <= ratio <= FACTOR for ratio in ratios),
        "foretold / taken, geometric mean": float(np.exp(np.mean(np.log(ratios)))),
        "smallest and largest": [min(ratios), max(ratios)],
    }
    print(summary)
    write(options.out, {"rows": rows, "summary": summary})


def timed(data: Dataset, trials: int) -> dict[str, Any]:
    """Returns what was foretold of one search, and what it took."""
    with tempfile.TemporaryDirectory() as folder, Search(data, trials=trials, history=Path(folder) / "h.db") as search:
        before = os.getloadavg()[0]
        foretold = search.estimate()
        started, used = time.monotonic(), time.process_time()
        for _ in search.run():
            pass
        search.finish()
        taken, used = time.monotonic() - started, time.process_time() - used
    return {
        "foretold": foretold,
        "taken": taken,
        "foretold / taken": foretold / taken,
        "CPU seconds taken": used,
        "load before and after": [before, os.getloadavg()[0]],
    }


def images() -> Dataset:
    """Returns bright and dark noise."""
    rng = np.random.default_rng(0)
    label = np.arange(300) % 2
    return load(
        (rng.integers(0, 128, (300, 8, 8), dtype=np.uint8) + (100 * label[:, None, None]).astype(np.uint8), label)
    )


def series() -> Dataset:
    """Returns fast and slow waves beside noise."""
    rng = np.random.default_rng(0)
    label, phase = np.arange(120) % 2, rng.uniform(0, 6, 120)
    waves = np.sin(0.2 * (1 + label[:, None]) * np.arange(60) + phase[:, None])
    return load((np.stack([waves, rng.normal(size=(120, 60))], axis=1), label))


MADE: dict[str, Callable[[], Dataset]] = {"images": images, "series": series}

if __name__ == "__main__":
    main()
