"""Baselines against scikit-learn pipelines on the same splits, and within their bounds of time."""

from __future__ import annotations

import numpy as np
import pytest

from nas import baselines
from nas.baselines import NAMES, evaluate
from nas.dataset import Dataset, Split, load
from nas.errors import DataError
from nas.metrics import METRICS, metrics, score


def consistent(name: str, data: Dataset, splits: list[Split]) -> baselines.BaselineResult:
    """Evaluates, and checks that every number of the result follows from its predictions."""
    result = evaluate(name, data, splits)
    assert result.name == name
    measured = []
    for split, predictions in zip(splits, result.predictions, strict=True):
        truth = data.y[split.validation]
        scale = float(np.std(data.y[split.train].astype(float))) if data.task == "regression" else 1.0
        shape = (len(truth), data.outputs) if data.task == "classification" else (len(truth),)
        assert predictions.shape == shape
        assert np.isfinite(predictions).all()
        if data.task == "classification":
            assert np.allclose(predictions.sum(axis=1), 1.0)
        measured.append(metrics(data.task, predictions, truth, scale))
    assert list(result.metrics) == list(METRICS[data.task])
    for key, value in result.metrics.items():
        assert value == pytest.approx(np.mean([each[key] for each in measured]))
    assert result.milliseconds_per_row > 0.0
    assert result.size_bytes > 0
    return result


@pytest.mark.parametrize(("dataset", "metric"), [("breast_cancer", "log_loss"), ("diabetes", "rmse")])
def test_linear_equals_a_scikit_learn_pipeline(dataset, metric):
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load(dataset)
    splits = data.splits(2, seed=0)
    found = consistent("linear", data, splits)
    values = []
    for split in splits:
        X, y = data.inputs["numeric"].astype(float), data.y
        kind = LogisticRegression(max_iter=500) if data.task == "classification" else Ridge()
        model = make_pipeline(StandardScaler(), kind).fit(X[split.train], y[split.train])
        predict = model.predict_proba if data.task == "classification" else model.predict
        values.append(metrics(data.task, predict(X[split.validation]), y[split.validation])[metric])
    assert found.metrics[metric] == pytest.approx(np.mean(values), rel=0.02)
    assert found.note == ""


@pytest.mark.parametrize(("dataset", "metric"), [("breast_cancer", "accuracy"), ("diabetes", "rmse")])
def test_trees_equal_scikit_learn(dataset, metric):
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    data = load(dataset)
    split = data.splits(1, seed=0)[0]
    found = consistent("boosted_trees", data, [split])
    X, y = data.inputs["numeric"], data.y
    kind = HistGradientBoostingClassifier if data.task == "classification" else HistGradientBoostingRegressor
    model = kind(random_state=0).fit(X[split.train], y[split.train])
    predict = model.predict_proba if data.task == "classification" else model.predict
    truth = metrics(data.task, predict(X[split.validation]), y[split.validation])[metric]
    assert found.metrics[metric] == pytest.approx(truth, rel=0.03)


def test_both_learn_digits_and_their_sizes_are_plausible():
    data = load("digits")
    splits = data.splits(1, seed=0)
    linear, trees = (consistent(name, data, splits) for name in NAMES)
    assert linear.metrics["accuracy"] > 0.93
    assert trees.metrics["accuracy"] > 0.93
    assert 10 * 65 * 8 <= linear.size_bytes < 20_000  # coefficients, means, deviations
    assert trees.size_bytes > 500_000  # a thousand trees


def messy(task: str) -> Dataset:
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame(
        {
            "a": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "b": rng.choice(["u", "v", None], n),
            "c": rng.choice([f"level{i}" for i in range(40)], n),
            "d": rng.normal(size=n) * 1e20,
        }
    )
    y = (frame["b"] == "u") ^ (rng.random(n) < 0.05)
    return load((frame, np.where(y, "yes", "no") if task == "classification" else y * 3.7 + 0.3 * rng.normal(size=n)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_gaps_categories_and_wild_scales(name, task):
    data = messy(task)
    result = consistent(name, data, data.splits(2, seed=0))
    assert result.metrics["auc" if task == "classification" else "r2"] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_odd_training_parts(name):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X[:, 1] = np.nan
    data = load((X, np.arange(60) % 3))
    two = np.flatnonzero(data.y < 2)
    consistent(name, data, [Split(two[:30], np.arange(45, 60))])  # a class that training never sees
    one = np.flatnonzero(data.y == 2)
    assert "one class" in consistent(name, data, [Split(one[:10], np.arange(45, 60))]).note
    consistent(name, load((np.full((40, 2), np.nan), rng.normal(size=40))), [Split(np.arange(20), np.arange(20, 40))])
    codes = load((np.array([["a", "b"], ["b", "a"]] * 100, dtype=object), np.arange(200) % 2))
    assert consistent(name, codes, codes.splits(1, seed=0)).metrics["accuracy"] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_images_are_pooled(name):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    images = rng.integers(100, size=(120, 40, 36, 3), dtype=np.uint8)
    images[y == 1, :20] += 100
    data = load((images, y))
    result = consistent(name, data, data.splits(1, seed=0))
    assert result.metrics["accuracy"] == 1.0
    assert result.size_bytes < 1_000_000


def test_rare_classes_do_not_make_the_trees_diverge():
    rng = np.random.default_rng(0)
    counts = [1500, 500, 8, 6, 4, 3, 3, 3]
    y = np.repeat(np.arange(8), counts)
    data = load((np.eye(8)[y] @ rng.normal(size=(8, 6)) + 0.4 * rng.normal(size=(len(y), 6)), y))
    result = consistent("boosted_trees", data, data.splits(1, seed=0))
    assert result.metrics["accuracy"] > 0.97
    assert result.metrics["log_loss"] < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_work_is_bounded_and_said(name, monkeypatch):
    monkeypatch.setattr(baselines, "MAX_ROWS", 500)
    monkeypatch.setattr(baselines, "TREE_SECONDS", 0.5)
    monkeypatch.setattr(baselines, "LINEAR_WORK", 500 * 64 * 10 * 20.0)
    data = load("digits")
    result = consistent(name, data, data.splits(1, seed=0))
    assert "trained on 500 rows" in result.note
    assert "iterations" in result.note
    assert result.metrics["accuracy"] > 0.75


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_count_by_their_weights(name, task):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    truth = np.where(np.arange(400) % 2, 1, -1) * x[:, 0]  # odd rows say the opposite of even ones
    y = (truth > 0).astype(int) if task == "classification" else truth
    weights = np.where(np.arange(400) % 2, 1.0, 0.02)
    results = []
    for unit in (1.0, 1e6):
        data = load((x, y), weights=weights * unit, task=task)
        split = data.splits(1, seed=0)[0]
        result = evaluate(name, data, [split])
        w = data.weights[split.validation]
        assert -result.metrics["brier" if task == "classification" else "nrmse"] == pytest.approx(
            score(task, result.predictions[0], data.y[split.validation], data.moments(split.train)[1], w)
        )
        results.append(result)
    assert results[0].metrics["auc" if task == "classification" else "r2"] > 0.8
    assert np.allclose(results[0].predictions[0], results[1].predictions[0])


def test_faults_end_in_one_sentence():
    data = load("iris")
    with pytest.raises(DataError, match="did you mean 'linear'"):
        evaluate("liner", data, data.splits(1, seed=0))
    with pytest.raises(DataError, match="at least one split"):
        evaluate("linear", data, [])
