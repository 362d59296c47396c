"""How well are latencies on an unseen device predicted from ten measurements? The task of HELP (Lee et al. 2021).

``python -m benchmarks.latency --table nb201_latency.npz --out FILE.json [--models flops,cold_gp,rgpe] [--draws 20]``

Protocol of the paper's table 3, NAS-Bench-201 (hayeonlee/HELP, ``loader.py``): architectures 0 to 899 of nine devices
are the past, 900 to 1,899 of six other devices are predicted, in both cases the middle 80 % by latency of each device;
ten measurements of the new device are drawn from its middle 80 % of the first 900. Said is Spearman's correlation, mean
over draws. HELP itself describes a device by ten reference architectures more, twenty measurements together.

A model is ``flops`` (no measurements), or a controller with ``predict(choices)`` that returns mean and deviation of the
scores it expects.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.table import Table, load
from benchmarks.transfer import factory
from nas.controllers import Problem
from nas.errors import SearchError
from nas.record import PastDataset

TRAIN = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
TEST = ("titan_rtx_256", "gold_6226", "pixel2", "raspi4", "eyeriss", "fpga")
KNOWN, ASKED = range(900), range(900, 1900)
PUBLISHED = {  # the paper's table 3, as its repository gives it
    "FLOPs (published)": (0.950, 0.826, 0.765, 0.846, 0.437, 0.900),
    "BRP-NAS, 900 measurements (published)": (0.814, 0.796, 0.666, 0.847, 0.811, 0.801),
    "HELP (published)": (0.987, 0.989, 0.802, 0.890, 0.940, 0.985),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--models", default="flops,cold_gp,rgpe")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--measurements", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    table = load(options.table)
    with np.load(options.table, allow_pickle=False) as file:
        flops = file["flops_m"]
    with tempfile.TemporaryDirectory() as folder:  # all draws know the same past: what it teaches is worked out once
        known = Problem(space=table.spaces[0], past=tuple(history(table)), priors=Path(folder))
        results = {model: measured(model, table, known, flops, options) for model in options.models.split(",")}
    for name, values in PUBLISHED.items():
        print(row(name, values))
    write(options.out, {"measurements": options.measurements, "models": results, "published": PUBLISHED})


def measured(
    model: str, table: Table, known: Problem, flops: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    """Returns a model's correlation on each device and the mean of them."""
    found = {
        device: [
            correlation(table, device, flops, model, known, options.measurements, draw)
            for draw in range(1 if model == "flops" else options.draws)
        ]
        for device in TEST
    }
    print(row(model, [float(np.mean(v)) for v in found.values()]), flush=True)
    each = {d: {"mean": float(np.mean(v)), "spread": float(np.std(v)), "n": len(v)} for d, v in found.items()}
    return each | {"mean": float(np.mean([np.mean(v) for v in found.values()]))}


def middle(table: Table, device: str, rows: range) -> np.ndarray:
    """Returns the rows between the first and the last decile of a device's latency."""
    latency = -table.val[rows.start : rows.stop, _task(table, device)]
    n = len(rows)
    return rows.start + np.argsort(latency, kind="stable")[int(0.1 * n) : int(0.9 * n)]


def score(table: Table, device: str, row: int) -> float:
    """Returns minus the logarithm of the latency, so that higher is better and ratios are differences."""
    return float(-np.log(-table.val[row, _task(table, device)]))


def history(table: Table) -> list[PastDataset]:
    """Returns what was measured on the nine devices."""
    found = []
    for device in TRAIN:
        info = table.infos[_task(table, device)]
        rows = enumerate(middle(table, device, KNOWN))
        found.append(
            PastDataset(
                info, tuple(table.record(device, i, info, int(r), score(table, device, int(r))) for i, r in rows)
            )
        )
    return found


def correlation(
    table: Table,
    device: str,
    flops: np.ndarray,
    model: str,
    known: Problem,
    measurements: int,
    draw: int,
) -> float:
    """Returns Spearman's correlation of what is predicted for one device after one draw of measurements."""
    from scipy.stats import spearmanr

    asked = middle(table, device, ASKED)
    truth = table.val[asked, _task(table, device)]
    if model == "flops":
        return float(spearmanr(-flops[asked], truth).statistic)
    rng = np.random.default_rng([draw, TEST.index(device)])
    info = table.infos[_task(table, device)]
    controller: Any = factory(model)(replace(known, seed=draw, dataset=info.fingerprint))
    if not hasattr(controller, "predict"):
        raise SearchError(
            f"a model of latencies has a method predict(choices), but {model!r} has none; choose another."
        )
    drawn = rng.permutation(middle(table, device, KNOWN))[:measurements]
    controller.tell(
        [table.record("target", i, info, int(r), score(table, device, int(r))) for i, r in enumerate(drawn)]
    )
    mean, _ = controller.predict([table.choices[r] for r in asked])
    return float(spearmanr(mean, truth).statistic)


def row(name: str, values: Sequence[float]) -> str:
    """Returns one line of the table, the mean last."""
    return f"{name:40}" + "".join(f"{v:8.3f}" for v in (*values, float(np.mean(values))))


def _task(table: Table, device: str) -> int:
    return [info.name for info in table.infos].index(device)


if __name__ == "__main__":
    main()
