"""What trainings are tried on: small architectures, and data that a network can learn in a second."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np

from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.record import Fidelity, Outcome
from nas.training import Candidate, train


def chain(*ops: Any, inputs: tuple[str, ...] = ("x",), wide: bool = False) -> Architecture:
    """A chain of operations, each a name or (name, parameters)."""
    g = nx.DiGraph()
    for name in inputs:
        g.add_node(f"in {name}", op="input", parameters={"name": name})
    last = [f"in {name}" for name in inputs]
    for i, what in enumerate(ops):
        op, parameters = (what, {}) if isinstance(what, str) else what
        g.add_node(i, op=op, parameters=parameters)
        g.add_edges_from((source, i) for source in last)
        last = [i]  # type: ignore[list-item]
    g.add_node("y", op="output")
    g.add_edges_from((source, "y") for source in last)
    if wide:
        g.add_edge("in x", "y")
    return Architecture.from_graph(g)


def linear(width: int) -> tuple[str, dict[str, int]]:
    return ("linear", {"width": width})


MLP = chain(linear(32), "mish", "dropout", linear(32), "mish", "dropout", wide=True)


def blobs(n: int = 300, classes: int = 3, seed: int = 0, apart: float = 2.0) -> Dataset:
    """Overlapping normal clouds, one a class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 6)) + apart * rng.normal(size=(classes, 6))[y]
    names = tuple(map(str, range(classes)))
    return Dataset("blobs", "tabular", "classification", {"numeric": x.astype(np.float32)}, y, names)


def waves(n: int = 900, seed: int = 0) -> Dataset:
    """A smooth function of four numbers, in thousands."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = 5000.0 + 1000.0 * (np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2]) + 50.0 * rng.normal(size=n)
    return Dataset("waves", "tabular", "regression", {"numeric": x}, y.astype(np.float32))


def stripes(n: int = 160, seed: int = 0) -> Dataset:
    """Noisy images of horizontal or vertical stripes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    ramp = np.where(np.arange(8) % 2, 170.0, 80.0)
    clean = np.where(y[:, None, None] == 0, ramp[None, :, None], ramp[None, None, :])
    pixels = np.clip(clean + 60 * rng.normal(size=(n, 8, 8)), 0, 255).astype(np.uint8)[..., None]
    return Dataset("stripes", "image", "classification", {"image": pixels}, y, ("h", "v"))


def one(architecture: Architecture, data: Dataset, epochs: int = 3, splits: int = 1, **options: Any) -> Outcome:
    settings = options.pop("settings", {})
    return train(
        [Candidate(architecture, settings)],
        data,
        data.splits(splits, 0),
        Fidelity(epochs, 10**6, splits),
        **({"seed": 0} | options),
    )[0]


def plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome without what may differ between runs: its seconds."""
    data = outcome.to_dict()
    del data["cost"]["seconds"]
    return data
