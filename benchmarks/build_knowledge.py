"""Builds a pack of knowledge: the same architectures, and some of its own, trained on each of many datasets.

``python -m benchmarks.build_knowledge --datasets DIR --out PACK.parquet [--work FILE.db]``

DIR holds tables of the schema (X_num, X_cat, y, task) and an ``index.json`` with name, family, task, n, d_num, d_cat.
One dataset a family is taken, as many of classification as of regression. Interrupted, it goes on from its work file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from nas.dataset import Dataset, load
from nas.evaluation import Evaluator, describe, now, trainer
from nas.metadataset import MetaDataset
from nas.protocol import default_fidelity, metric_of
from nas.record import DatasetInfo, SearchInfo
from nas.space import Choices, SearchSpace
from search_spaces import default_for, tabular

SHARED, OWN = 24, 6  # architectures every dataset sees, and ones that only it sees
ROWS, COLUMNS = 2_000, 80  # rows taken of a dataset; wider tables are left out
LEAST = 300  # rows a dataset must have
HELD_OUT = ("adult", "california_housing", "digits", "iris", "wine", "wisconsin_breast", "house_census")
"""Families that the project's own demonstrations and tests search on: no pack may know them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=96, help="datasets in all (%(default)s)")
    parser.add_argument("--work", type=Path, help="where records are kept meanwhile (beside PACK)")
    options = parser.parse_args()
    work = options.work or options.out.with_suffix(".work.db")
    chosen = choose(json.loads((options.datasets / "index.json").read_text()), options.count)
    started = time.time()
    with MetaDataset.open(work) as history:
        for number, entry in enumerate(chosen, 1):
            spent = measure(history, options.datasets / f"{entry['name']}.npz", entry["family"])
            print(
                f"{number:3d}/{len(chosen)} {entry['name']:24s} {spent:6.1f} s  {time.time() - started:6.0f} s",
                flush=True,
            )
        history.export_pack(options.out)
        print(f"{options.out}: {len(history)} records, {options.out.stat().st_size:,} bytes")


def choose(index: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """One dataset of each family, half of them classification; which families is decided by a hash of their names."""
    families: dict[str, dict[str, Any]] = {}
    for entry in sorted(index, key=lambda e: e["name"]):
        small = entry["d_num"] + entry["d_cat"] <= COLUMNS and entry["n"] >= LEAST
        if small and entry["family"] not in HELD_OUT:
            families.setdefault(entry["family"], entry)
    ordered = sorted(families.values(), key=lambda e: hashlib.sha256(e["family"].encode()).hexdigest())
    tasks = [[e for e in ordered if e["task"] == task] for task in ("classification", "regression")]
    return [entry for pair in zip(*tasks, strict=False) for entry in pair][:count]


def measure(history: MetaDataset, path: Path, family: str) -> float:
    """Trains what the history does not have yet of one dataset; returns the seconds it took."""
    started = time.time()
    whole = load(str(path))
    rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:ROWS])
    data = whole.subset(rows)
    space = default_for(data)
    name = f"knowledge-{path.stem}"
    done = {record.number for record in history.records(search=name)}
    wanted = candidates(space, path.stem)
    if len(done) == len(wanted):
        return 0.0
    info = describe(data, family)
    history.add_dataset(info)
    history.add_search(search_info(name, info, space, data))
    evaluator = Evaluator(name, info, data, space, default_fidelity(data))
    train = trainer(evaluator.circumstances())
    for number, choices in enumerate(wanted):
        if number not in done:
            (outcome,) = train(evaluator.group([choices]))
            history.append([evaluator.screened(choices, number, outcome)])
    return time.time() - started


def candidates(space: SearchSpace, name: str) -> list[Choices]:
    """The shared choices as this space can hold them, then the dataset's own."""
    rng = np.random.default_rng(0)
    everything = tabular()
    shared = [everything.default(), *(everything.sample(rng) for _ in range(SHARED - 1))]
    own = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    return [*(space.adapt(choices) for choices in shared), *(space.sample(own) for _ in range(OWN))]


def search_info(name: str, info: DatasetInfo, space: SearchSpace, data: Dataset) -> SearchInfo:
    return SearchInfo(
        name=name,
        dataset=info.fingerprint,
        space=space.name,
        space_json=json.dumps(space.to_dict(), sort_keys=True),
        protocol={"metric": metric_of(data), "fidelity": default_fidelity(data).to_dict()},
        controller="shared and random",
        created=now(),
    )


if __name__ == "__main__":
    main()
