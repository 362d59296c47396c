"""Weights of rows in training: what a row counts for in a step, in the choice of the epoch and in the score."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_squared_error

from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.metrics import find_metric
from nas.model import Signature, build
from nas.record import Fidelity
from nas.training import Candidate, Recipe, fit, train
from nas.training.company import split_seed
from nas.training.learn import Budget, Task, Training, advance
from nas.training.resident import Rows


def network(*operations: str) -> Architecture:
    g = nx.DiGraph()
    g.add_node("x", op="input", parameters={"name": "numeric"})
    last = "x"
    for i, name in enumerate(operations):
        g.add_node(str(i), op=name, parameters={"width": 12} if name == "linear" else {})
        g.add_edge(last, str(i))
        last = str(i)
    g.add_node("y", op="output")
    g.add_edge(last, "y")
    return Architecture.from_graph(g)


MLP = Candidate(network("linear", "mish", "linear", "tanh"), {"dropout": 0.0})


def data(task: str, n: int = 240, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    signal = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=n)
    weights = rng.uniform(0.1, 5.0, n)
    if task == "classification":
        y = (signal > 0).astype(np.int64) + (signal > 1)
        return Dataset("d", "tabular", task, {"numeric": x}, y, ("a", "b", "c"), weights=weights)
    return Dataset("d", "tabular", task, {"numeric": x}, (100 + 10 * signal).astype(np.float32), weights=weights)


@pytest.mark.parametrize("task", [Task(True), Task(False)])
@pytest.mark.parametrize("times", [[1] * 8 + [3] * 8, [1] * 8 + [2] * 3])  # side by side; alone
def test_a_weight_is_how_often_a_row_occurs_in_the_gradient(task, times):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(len(times), 3)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 3, len(times)))
    y = y if task.classification else y.float()
    w = torch.tensor(times, dtype=torch.float32)
    often = torch.repeat_interleave(torch.arange(len(times)), torch.tensor(times))
    gradients = []
    for rows in (
        Rows({"numeric": x}, None, y, w / w.mean()),
        Rows({"numeric": x[often]}, None, y[often]),
        Rows({"numeric": x}, None, y),
    ):
        outputs = 3 if task.classification else 1
        made = build(network("linear", "mish"), Signature({"numeric": (3,)}, outputs), dropout=0.0, seed=0)
        recipe = Recipe(dropout=0.0, label_smoothing=0.1)
        training = Training(made, rows, None, recipe, task, Budget(1), 0, batch=len(rows))
        advance([training], 1)
        gradients.append(training.state.moving.first)  # of Adam after one step: the gradient, times .1
    weighted, repeated, plain = gradients
    torch.testing.assert_close(weighted, repeated, rtol=1e-4, atol=1e-7)
    assert (weighted - plain).abs().max() > 0.05 * plain.abs().max()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_that_count_for_next_to_nothing_do_not_matter(task):
    given = data(task)
    junk = np.arange(0, 240, 3)
    weights = np.where(np.isin(np.arange(240), junk), 1e-12, 1.0)
    ys = [given.y.copy(), given.y.copy()]
    ys[1][junk] = (ys[1][junk] + 1) % 3 if task == "classification" else 100 - 5 * (ys[1][junk] - 100)
    first, other = (replace(given, y=y, weights=weights) for y in ys)
    split = first.splits(1, 0)[0]
    found = [train([MLP], d, [split], Fidelity(6, 10**6, 1), seed=0)[0] for d in (first, other)]
    assert found[0].score == pytest.approx(found[1].score, abs=1e-4)
    assert found[0].curve == pytest.approx(found[1].curve, abs=1e-4)
    said = [fit(MLP, d, np.arange(240), epochs=6, seed=0).predict(d) for d in (first, other)]
    np.testing.assert_allclose(said[0], said[1], rtol=1e-3, atol=1e-4)
    unweighted = [
        fit(MLP, replace(d, weights=None), np.arange(240), epochs=6, seed=0).predict(d) for d in (first, other)
    ]
    assert np.abs(unweighted[0] - unweighted[1]).max() > 0.05


def test_weights_that_are_all_equal_change_no_bit():
    given = data("classification")
    said = [
        fit(MLP, replace(given, weights=w), np.arange(200), epochs=4, seed=0, validation=np.arange(200, 240))
        for w in (None, np.full(240, 3.0))
    ]
    assert said[0].best_epoch == said[1].best_epoch
    np.testing.assert_array_equal(said[0].predict(given), said[1].predict(given))
    np.testing.assert_allclose(said[0].curve, said[1].curve, rtol=1e-6)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_score_and_the_curve_count_rows_by_their_weights(task):
    given = data(task)
    splits = given.splits(2, 0)
    found, beside = train([MLP, MLP], given, splits, Fidelity(5, 10**6, 2), seed=7)
    alone = train([MLP], given, splits, Fidelity(5, 10**6, 2), seed=7)[0]
    assert (found.score, found.curve) == (beside.score, beside.curve) == (alone.score, alone.curve)
    scores, accuracies, balanced, curves = [], [], [], []
    for i, split in enumerate(splits):
        trained = fit(MLP, given, split.train, epochs=5, seed=split_seed(7, i), validation=split.validation)
        p, y, w = trained.predict(given, split.validation), given.y[split.validation], given.weights[split.validation]
        if task == "classification":
            scores.append(-np.average(((p - np.eye(3)[y]) ** 2).sum(axis=1), weights=w))
            accuracies.append(accuracy_score(y, p.argmax(axis=1), sample_weight=w))
            balanced.append(balanced_accuracy_score(y, p.argmax(axis=1), sample_weight=w))
        else:
            scores.append(-np.sqrt(mean_squared_error(y, p, sample_weight=w)) / given.moments(split.train)[1])
        assert max(trained.curve) == pytest.approx(scores[-1], rel=1e-4)
        curves.append(trained.curve)
    assert found.score == pytest.approx(np.mean(scores), rel=1e-5)
    assert found.curve == pytest.approx(tuple(np.mean(curves, axis=0)), rel=1e-5)
    if task == "classification":
        assert found.metrics["accuracy"] == pytest.approx(np.mean(accuracies))
        assert found.metrics["balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert found.standard_error > 0


def test_a_scorer_sees_the_weights_too():
    given = data("regression")
    split = given.splits(1, 0)[0]
    metric = find_metric("neg_mean_squared_error", given.task, given.y, weights=given.weights)
    found = train([MLP], given, [split], Fidelity(5, 10**6, 1), seed=7, metric=metric)[0]
    trained = fit(MLP, given, split.train, epochs=5, seed=split_seed(7, 0), validation=split.validation, metric=metric)
    y, w = given.y[split.validation], given.weights[split.validation]
    by_hand = -mean_squared_error(y, trained.predict(given, split.validation), sample_weight=w)
    assert found.score == pytest.approx(by_hand, rel=1e-5)
    assert max(found.curve) == pytest.approx(by_hand, rel=1e-5)
