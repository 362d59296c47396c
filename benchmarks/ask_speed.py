"""How long does a controller think? One ask among many candidates, with a large history, on one thread.

``python -m benchmarks.ask_speed --out FILE.json [--controller meta] [--candidates 26000] [--observations 100]``
``    [--datasets 200] [--records 1000] [--asks 40]``

A cell of four nodes and six operations is searched, of which ``--candidates`` choices exist. Every past dataset has
``--records`` records of it and twenty meta-features, in a history in a file; scores are a sum over decisions, partly
shared, with noise. Said are the time from opening the history to the first choice, when nothing of what it teaches is
kept, when its prior is, and when one record was added since; the time of the first ask of a search that is opened again
with ``--observations`` trainings; and from there on the median and 99th percentile of the time in which a result
becomes the next choice (``tell`` and ``ask``). Times are the processor's: run with ``OMP_NUM_THREADS=1``, they are what
a clock shows on an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.table import Table, described, space_of
from benchmarks.transfer import factory
from nas.controllers import Controller, Problem
from nas.metadataset import MetaDataset
from nas.record import PastDataset
from nas.space import Choices, identity
from nas.space.measured import MeasuredSpace

OPERATIONS = tuple("abcdef")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
METAFEATURES = 20
SHARED, NOISE = 0.7, 0.2


def main() -> None:
    options = _options()
    rng = np.random.default_rng(0)
    table = synthetic(options.candidates, options.datasets + 1, rng)
    with tempfile.TemporaryDirectory() as folder:
        result = measured(options, table, Path(folder) / "history.db", rng)
    write(options.out, result)


def measured(options: argparse.Namespace, table: Table, place: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Returns the times of a controller whose history lies at ``place``, which is made."""
    with MetaDataset.open(place) as store:
        for past in history(table, options.datasets, options.records, rng):
            store.add_dataset(past.info)
            store.append(past.records)
    print(f"made {options.datasets * options.records} records of {options.datasets} datasets", flush=True)
    first_s: dict[str, float] = {}
    opened = {"nothing kept": False, "prior kept": False, "one record added": True, "prior kept, again": False}
    for kept, more in opened.items():
        if more:
            with MetaDataset.open(place) as store:
                store.append([table.record("later", 0, table.infos[0], 0, table.val[0, 0])])
        controller, choices, first_s[kept] = first(options.controller, table, place)
        print(f"first choice after {first_s[kept]:.2f} s, {kept}", flush=True)
    target = len(table.infos) - 1
    info = table.infos[target]
    ms: list[float] = []
    for number in range(options.observations + options.asks):
        if number < options.observations:  # whatever the controller would have tried
            choices = table.spaces[0].measured[int(rng.integers(len(table.spaces[0].measured)))]
        row = table.spaces[0].rows[identity(choices)]
        record = table.record("target", number, info, row, table.val[row, target])
        began = time.process_time()
        controller.tell([record])
        if number >= options.observations - 1:
            (choices,) = controller.ask(1)
            ms.append(1e3 * (time.process_time() - began))
    once, steady = ms[0], np.array(ms[1:])
    print(
        f"{options.controller}: with {options.observations} observations first {once:.0f} ms, "
        f"then median {np.median(steady):.1f} ms, p99 {np.percentile(steady, 99):.1f} ms over {len(steady)} asks"
    )
    return {
        "controller": options.controller,
        "candidates": options.candidates,
        "observations": options.observations,
        "past": {"datasets": options.datasets, "records": options.records},
        "asks": len(steady),
        "first_s": {kept: round(seconds, 3) for kept, seconds in first_s.items()},
        "ask_ms": {"median": float(np.median(steady)), "p99": float(np.percentile(steady, 99))},
        "after_reopening_ms": round(once, 1),
    }


def first(name: str, table: Table, place: Path) -> tuple[Controller, Choices, float]:
    """Returns a controller for the last task of the table, its first choice, and the seconds since opening its past."""
    info = table.infos[-1]
    began = time.process_time()
    with MetaDataset.open(place) as store:
        problem = Problem(
            space=table.spaces[0],
            past=tuple(store.past()),
            metafeatures=info.metafeatures,
            dataset=info.fingerprint,
            priors=store.priors,
        )
        controller = factory(name)(problem)
        (choices,) = controller.ask(1)
    return controller, choices, time.process_time() - began


def synthetic(candidates: int, tasks: int, rng: np.random.Generator) -> Table:
    """Returns a table of ``candidates`` random cells on ``tasks`` tasks that have something in common."""
    space, labels = space_of(
        [
            {"name": f"op_{a}_{b}", "kind": "edge_op", "source": str(a), "target": str(b), "values": list(OPERATIONS)}
            for a, b in EDGES
        ]
    )
    every = list(product(range(len(OPERATIONS)), repeat=len(EDGES)))
    kept = np.array(every)[np.sort(rng.permutation(len(every))[:candidates])]  # [n, decisions]
    choices = [{name: values[i] for (name, values), i in zip(labels.items(), row, strict=True)} for row in kept]
    common, own = rng.standard_normal((6, 6)), rng.standard_normal((tasks, 6, 6))
    effects = SHARED * common + (1 - SHARED) * own  # [tasks, decisions, operations]
    val = sum(effects[:, j, kept[:, j]].T for j in range(len(EDGES))) + NOISE * rng.standard_normal((len(kept), tasks))
    names = [f"past{t}" for t in range(tasks)]
    infos = tuple(
        replace(described(n, n), metafeatures={f"m{i}": float(v) for i, v in enumerate(rng.random(METAFEATURES))})
        for n in names
    )
    return Table(
        "synthetic", "", (MeasuredSpace(space, choices),), np.zeros(len(kept), int), np.asarray(val), None, infos
    )


def history(table: Table, datasets: int, records: int, rng: np.random.Generator) -> tuple[PastDataset, ...]:
    """Returns ``records`` random records of each of the first ``datasets`` tasks."""
    found = []
    for t, info in enumerate(table.infos[:datasets]):
        rows = rng.permutation(len(table.val))[:records]
        made = (table.record(info.name, i, info, int(row), table.val[row, t]) for i, row in enumerate(rows))
        found.append(PastDataset(info, tuple(made)))
    return tuple(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--controller", default="meta", help="a name or FILE.py:NAME")
    parser.add_argument("--candidates", type=int, default=26_000)
    parser.add_argument("--observations", type=int, default=100)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--asks", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
