"""What is the shipped knowledge worth on datasets it has never seen, and what does it look like?

``python -m benchmarks.warm_start --datasets DIR --out FILE.json [--picture FILE.png] [--count 8] [--seeds 3]``

Searches each held-out dataset warm (shipped knowledge), cold (no history) and at random, side by side with the same
seeds, splits and fidelity. Regret = (best - incumbent) / (best - median), best over all arms and seeds of the dataset,
median over the random arm's trials. The picture shows mean regret by trial with a 95 % bootstrap band over datasets,
the past datasets that spoke on the first dataset, and the network found there. A finished search is kept in
``FILE.work.db``, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.build_knowledge import COLUMNS, HELD_OUT, LEAST, ROWS
from benchmarks.record import write
from nas.architecture import Architecture
from nas.controllers import Explanation
from nas.dataset import Dataset, load
from nas.loop import Search
from nas.metadataset import MetaDataset, shipped
from nas.result import Result

ARMS = {"warm": ("meta", True), "cold": ("meta", False), "random": ("random", False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    known = shipped()
    names = held_out(json.loads((options.datasets / "index.json").read_text()), known, options.count)
    work = options.out.with_suffix(".work.db")
    incumbents: dict[str, dict[str, list[list[float]]]] = {}
    shown: tuple[Result, Explanation] | None = None
    with MetaDataset.open(work) as storage:
        for name in names:
            data = table(options.datasets / f"{name}.npz")
            incumbents[name] = {}
            for arm in ARMS:
                found = [search(data, arm, known, storage, seed, options.trials) for seed in range(options.seeds)]
                incumbents[name][arm] = [scores for scores, _ in found]
                shown = shown or found[0][1]
            print(
                name,
                {a: round(float(np.mean([max(s) for s in v])), 4) for a, v in incumbents[name].items()},
                flush=True,
            )
    regrets = {arm: np.array([regret(incumbents[n], arm) for n in names]) for arm in ARMS}  # [datasets, trials]
    summary = {arm: {str(t): _interval(r[:, t - 1]) for t in (1, 3, 5, options.trials)} for arm, r in regrets.items()}
    paired = _interval((regrets["cold"] - regrets["warm"]).mean(axis=1))
    for arm, row in summary.items():
        print(
            f"{arm:8s}" + "".join(f"  @{t} {v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for t, v in row.items())
        )
    print(f"cold - warm, mean over trials: {paired['mean']:+.3f} [{paired['low']:+.3f}, {paired['high']:+.3f}]")
    result = {
        "datasets": names,
        "seeds": options.seeds,
        "regret": summary,
        "cold minus warm": paired,
        "scores": incumbents,
    }
    write(options.out, result)
    if options.picture and shown is not None:
        draw(regrets, *shown, options.picture)


def held_out(index: list[dict[str, Any]], known: MetaDataset, count: int) -> list[str]:
    """One dataset of each family the pack does not know, classification and regression in turn, by name."""
    families = {info.family for info in known.datasets()} | set(HELD_OUT)
    found: dict[str, dict[str, Any]] = {}
    for entry in sorted(index, key=lambda e: e["name"]):
        if entry["family"] not in families and entry["n"] >= LEAST and entry["d_num"] + entry["d_cat"] <= COLUMNS:
            found.setdefault(entry["family"], entry)
    tasks = [[e["name"] for e in found.values() if e["task"] == task] for task in ("classification", "regression")]
    return [name for pair in zip(*tasks, strict=False) for name in pair][:count]


def table(path: Path) -> Dataset:
    whole = load(str(path))
    return whole.subset(np.sort(np.random.default_rng(0).permutation(len(whole))[:ROWS]))


def search(
    data: Dataset, arm: str, known: MetaDataset, storage: MetaDataset, seed: int, trials: int
) -> tuple[list[float], tuple[Result, Explanation] | None]:
    """The score of every trial (minus infinity where it failed); of the first warm search also the result, and whom it
    listened to before its first training."""
    controller, warm = ARMS[arm]
    name, history = f"{data.name}-{arm}-{seed}", known if warm else None
    with Search(
        data, controller=controller, history=history, storage=storage, name=name, seed=seed, trials=trials
    ) as running:
        first = running.controller.explain()
        scores = [-np.inf if record.score is None else record.score for record in running.run()]
        return scores, (running.finish(), first) if warm and seed == 0 else None


def regret(scores: Mapping[str, list[list[float]]], arm: str) -> np.ndarray:
    """Regret of the incumbent after each trial, mean over seeds, shape (trials,)."""
    known = [s for rows in scores.values() for row in rows for s in row if np.isfinite(s)]
    best, median = max(known), float(np.median(scores["random"]))
    incumbents = np.maximum.accumulate(np.maximum(np.array(scores[arm]), min(known)), axis=1)  # a failure is the worst
    return ((best - incumbents) / max(best - median, 1e-12)).mean(axis=0)


def _interval(values: np.ndarray) -> dict[str, float]:
    """Mean over datasets with a 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(10_000, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}


def draw(regrets: Mapping[str, np.ndarray], shown: Result, first: Explanation, path: Path) -> None:
    """Draws curves, speakers and the network found."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "nas", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(14, 4.4), width_ratios=[1.25, 1, 1.1], layout="constrained"
    )
    _curves(left, regrets)
    _speakers(middle, first, shown.dataset.name)
    _network(right, shown.best.architecture, shown.dataset.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    print(f"drew {path}")


def _curves(axes: Any, regrets: Mapping[str, np.ndarray]) -> None:
    labels = {"warm": "with the shipped history", "cold": "without history", "random": "random search"}
    colours = {"warm": "#0b6e4f", "cold": "#c8553d", "random": "#8d99ae"}
    for arm, values in regrets.items():
        trials = np.arange(1, values.shape[1] + 1)
        bands = [_interval(values[:, t]) for t in range(values.shape[1])]
        axes.plot(trials, [b["mean"] for b in bands], color=colours[arm], label=labels[arm], marker="o", ms=3)
        axes.fill_between(
            trials, [b["low"] for b in bands], [b["high"] for b in bands], color=colours[arm], alpha=0.15, lw=0
        )
    axes.set(xlabel="trainings", ylabel="regret (0 = best known, 1 = median network)", ylim=(0, None))
    axes.set_title(f"{len(next(iter(regrets.values())))} datasets no history has seen", loc="left")
    axes.legend(frameon=False)


def _speakers(axes: Any, explanation: Explanation, name: str) -> None:
    rows = [*list(explanation.weights.items())[:10][::-1], ("this search itself", explanation.own)]
    axes.barh(
        [name for name, _ in rows],
        [100 * share for _, share in rows],
        color=["#0b6e4f"] * (len(rows) - 1) + ["#c8553d"],
    )
    axes.set(xlabel="share of what is predicted, %")
    axes.set_title(f"who was listened to first on\n{name}", loc="left")


def _network(axes: Any, architecture: Architecture, name: str) -> None:
    import networkx as nx

    graph = architecture.graph
    for layer, nodes in enumerate(nx.topological_generations(graph)):
        for node in nodes:
            graph.nodes[node]["layer"] = layer
    places = nx.multipartite_layout(graph, subset_key="layer", align="horizontal")
    places = {node: (x, -y) for node, (x, y) in places.items()}
    labels = {n: _label(d) for n, d in graph.nodes(data=True)}
    nx.draw_networkx_edges(graph, places, ax=axes, edge_color="#8d99ae", arrowsize=9, node_size=600)
    box = {"boxstyle": "round,pad=0.25", "fc": "#eef4f1", "ec": "#0b6e4f", "lw": 0.8}
    nx.draw_networkx_labels(graph, places, labels, ax=axes, font_size=7, bbox=box)
    axes.set_title(f"the network found for\n{name}", loc="left")
    axes.margins(0.15, 0.06)
    axes.axis("off")


def _label(node: Mapping[str, Any]) -> str:
    values = node["parameters"].values()
    if node["op"] == "input":
        return str(next(iter(values)))
    return node["op"].replace("_", " ") + (f" {', '.join(f'{v:g}' for v in values)}" if values else "")


if __name__ == "__main__":
    main()
