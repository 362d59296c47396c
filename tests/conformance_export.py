"""Datasets and networks with random weights that the tests of exported files share."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.model import Predictor, Signature, build
from nas.operations import BUILTIN
from nas.preprocess import Preprocess

# --- datasets ---------------------------------------------------------------------------------------------------------


def table(task="classification", rows=90, numbers=6, categories=3, scale=1.0, seed=0):
    """Returns a table with gaps in every second number and in every category."""
    rng = np.random.default_rng(seed)
    inputs, levels = {}, ()
    y = rng.normal(size=rows)
    if numbers:
        values = rng.normal(size=(rows, numbers)) * 10.0 ** (np.arange(numbers) % 6)  # units from 1 to 100,000
        y = y + values[:, 0]
        values[:, ::2][rng.random((rows, (numbers + 1) // 2)) < 0.2] = np.nan
        inputs["numeric"] = values.astype(np.float32)
    if categories:
        inputs["categorical"] = rng.integers(-1, 5, size=(rows, categories))
        levels = tuple(tuple("abcde") for _ in range(categories))
    if task == "classification":
        y = np.digitize(y, np.quantile(y, (1 / 3, 2 / 3))).astype(np.int64)
        return Dataset("table", "tabular", task, inputs, y, ("low", "mid", "high"), levels=levels)
    return Dataset("table", "tabular", task, inputs, (scale * y).astype(np.float32), levels=levels)


def pictures(rows=60, height=9, width=7, channels=2):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, size=(rows, height, width, channels), dtype=np.uint8)
    return Dataset("pictures", "image", "classification", {"image": images}, np.arange(rows) % 3, ("a", "b", "c"))


def digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.rint(found.images[:300, :, :, None] / 16 * 255).astype(np.uint8)
    names = tuple(map(str, range(10)))
    return Dataset("digits", "image", "classification", {"image": images}, found.target[:300].astype(np.int64), names)


# --- networks ---------------------------------------------------------------------------------------------------------


def chain(*operations, view="x"):
    """Returns the architecture that applies ``operations``, names or (name, parameters), in turn to one view."""
    return parallel([operations], view=view, meet="identity")


def parallel(branches, view="x", join="concat", meet="tanh"):
    """Returns the architecture whose branches, as in ``chain``, meet in one node; ``@name`` first starts at a view."""
    graph = nx.MultiDiGraph()
    graph.add_node("meet", op=meet, join=join)
    graph.add_node("out", op="output")
    graph.add_edge("meet", "out")
    for number, branch in enumerate(branches):
        source, branch = (branch[0][1:], branch[1:]) if str(branch[0]).startswith("@") else (view, branch)
        last = f"in {source}"
        graph.add_node(last, op="input", parameters={"name": source})
        for place, step in enumerate(branch):
            name, parameters = (step, {}) if isinstance(step, str) else step
            graph.add_node((number, place), op=name, parameters=parameters)
            graph.add_edge(last, (number, place))
            last = (number, place)
        graph.add_edge(last, "meet")
    return Architecture.from_graph(graph)


def network(architecture, data, operations=BUILTIN, seed=0):
    """Returns a predictor whose every number is random, as training would leave it (heads are zero at first)."""
    preprocess = Preprocess.fit(data, np.arange(len(data)))
    body = build(architecture, Signature(preprocess.shapes, data.outputs), operations, dropout=0.2, seed=seed)
    scale = {} if data.task == "classification" else {"mean": float(data.y.mean()), "std": float(data.y.std())}
    if body.architecture.inputs:
        preprocess = preprocess.only(body.architecture.inputs)
    predictor = Predictor(preprocess, body, data.task, **scale)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.dim() < 2 or not parameter.any():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for module in body.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    return predictor


def expected(predictor, raw):
    with torch.inference_mode():
        return predictor.eval()(*(torch.from_numpy(raw[name]) for name in predictor.preprocess.raw)).numpy()
