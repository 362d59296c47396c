"""Metrics against scikit-learn, standard errors against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import DataError
from nas.metrics import (
    METRICS,
    Predicted,
    display,
    find_metric,
    mean_error,
    metrics,
    row_losses,
    score,
    score_of,
    standard_error,
)


def probabilities(rng: np.random.Generator, n: int, k: int, sharpness: float = 1.0) -> np.ndarray:
    logits = rng.normal(size=(n, k)) * sharpness
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
def test_classification_metrics_equal_scikit_learn(seed, k, ties):
    from sklearn import metrics as truth

    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(k), rng.integers(k, size=60)]
    p = probabilities(rng, len(y), k)
    if ties:
        p = p[rng.integers(8, size=len(y))]
    ours = metrics("classification", p, y)
    assert ours["accuracy"] == pytest.approx(truth.accuracy_score(y, p.argmax(axis=1)))
    assert ours["balanced_accuracy"] == pytest.approx(truth.balanced_accuracy_score(y, p.argmax(axis=1)))
    assert ours["log_loss"] == pytest.approx(truth.log_loss(y, p))
    auc = truth.roc_auc_score(y, p[:, 1]) if k == 2 else truth.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert ours["auc"] == pytest.approx(auc)
    assert ours["brier"] == pytest.approx(np.mean(np.sum((p - np.eye(k)[y]) ** 2, axis=1)))
    assert list(ours) == list(METRICS["classification"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_of_certain_mistakes_is_clipped_as_in_scikit_learn(dtype):
    from sklearn.metrics import log_loss

    p, y = np.array([[1, 0], [0, 1], [1, 0]], dtype), np.array([0, 1, 1])
    assert metrics("classification", p, y)["log_loss"] == pytest.approx(log_loss(y, p), rel=1e-5)


def test_binary_brier_is_twice_scikit_learns_and_scores_are_its_negative():
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    p, y = probabilities(rng, 200, 2), rng.integers(2, size=200)
    assert score("classification", p, y) == pytest.approx(-2 * brier_score_loss(y, p[:, 1]))
    assert score("classification", np.eye(2)[y], y) == 0.0
    assert score("classification", np.eye(2)[1 - y], y) == -2.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_regression_metrics_equal_scikit_learn(seed, scale):
    from sklearn import metrics as truth

    rng = np.random.default_rng(seed)
    y = rng.normal(5.0, 3.0, size=80).astype(np.float32)
    p = (y + rng.normal(size=80)).astype(np.float32)
    ours = metrics("regression", p, y, scale)
    assert ours["rmse"] == pytest.approx(truth.root_mean_squared_error(y, p), rel=1e-5)
    assert ours["mae"] == pytest.approx(truth.mean_absolute_error(y, p), rel=1e-5)
    assert ours["r2"] == pytest.approx(truth.r2_score(y, p), rel=1e-5)
    assert ours["nrmse"] == pytest.approx(ours["rmse"] / scale)
    assert score("regression", p, y, scale) == pytest.approx(-ours["nrmse"])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_standard_error_agrees_with_the_bootstrap(task):
    rng = np.random.default_rng(3)
    if task == "classification":
        y = rng.integers(3, size=400)
        losses = row_losses(task, probabilities(rng, 400, 3, 2.0), y)
    else:
        y = rng.normal(size=400)
        losses = row_losses(task, y + rng.standard_t(6, size=400), y, scale=2.0)
    again = [score_of(task, rng.choice(losses, size=400)) for _ in range(4000)]
    assert standard_error(task, losses) == pytest.approx(np.std(again), rel=0.08)


def test_standard_error_of_repeated_rows_is_that_of_clusters():
    rng = np.random.default_rng(4)
    losses = rng.uniform(size=300)
    rows = np.arange(300)
    once = standard_error("classification", losses, rows)
    assert once == pytest.approx(standard_error("classification", losses))
    twice = standard_error("classification", np.r_[losses, losses], np.r_[rows, rows])
    assert twice == pytest.approx(once)  # the same rows again are no new evidence
    assert standard_error("classification", np.r_[losses, losses]) < 0.75 * once


@pytest.mark.parametrize("weighted", [False, True])
def test_error_of_groups_agrees_with_drawing_groups_again(weighted):
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 30, 60)
    groups = np.repeat(np.arange(60), sizes)
    values = rng.normal(size=60)[groups] + 0.5 * rng.normal(size=len(groups))
    weights = rng.uniform(0.2, 3.0, len(groups)) if weighted else None
    mean, error = mean_error(values, groups, weights)
    w = np.ones(len(groups)) if weights is None else weights
    totals, masses = np.bincount(groups, w * values), np.bincount(groups, w)
    drawn = rng.integers(60, size=(4000, 60))
    assert mean == pytest.approx(np.average(values, weights=weights))
    assert error == pytest.approx(np.std(totals[drawn].sum(axis=1) / masses[drawn].sum(axis=1)), rel=0.1)
    assert error > 2 * mean_error(values, weights=weights)[1]  # rows taken for independent claim too much
    assert np.isnan(mean_error(values, np.zeros(len(values)), weights)[1])


def test_error_of_weights_agrees_with_the_bootstrap():
    rng = np.random.default_rng(6)
    values, weights = rng.normal(size=500), rng.gamma(1.0, size=500)
    again = []
    for _ in range(3000):
        i = rng.integers(500, size=500)
        again.append(np.average(values[i], weights=weights[i]))
    assert mean_error(values, weights=weights)[1] == pytest.approx(np.std(again), rel=0.08)
    assert score_of("classification", values, weights) == pytest.approx(-np.average(values, weights=weights))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_weighted_metrics_equal_scikit_learn_and_repeated_rows(seed, k):
    from sklearn import metrics as truth

    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(k), rng.integers(k, size=40)]
    p, w = probabilities(rng, len(y), k)[rng.integers(len(y), size=len(y))], rng.integers(1, 5, len(y))
    ours = metrics("classification", p, y, weights=w)
    for name, value in metrics("classification", np.repeat(p, w, axis=0), np.repeat(y, w)).items():
        assert ours[name] == pytest.approx(value), name
    assert ours["balanced_accuracy"] == pytest.approx(truth.balanced_accuracy_score(y, p.argmax(1), sample_weight=w))
    values = rng.normal(size=len(y))
    ours = metrics("regression", values, y, 2.0, weights=w)
    assert ours["r2"] == pytest.approx(truth.r2_score(y, values, sample_weight=w))
    assert ours["mae"] == pytest.approx(truth.mean_absolute_error(y, values, sample_weight=w))
    assert ours["nrmse"] == pytest.approx(truth.root_mean_squared_error(y, values, sample_weight=w) / 2)
    assert score("regression", values, y, 2.0, w) == pytest.approx(-ours["nrmse"])


# ------------------------------------------------------------------------------------------- scorers of scikit-learn


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", ["roc_auc", "roc_auc_ovr", "f1", "f1_macro", "neg_log_loss", "balanced_accuracy"])
def test_scorers_by_name_say_what_they_say_of_a_model(name, k):
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import get_scorer

    X, y = load_iris(return_X_y=True)
    X, y = X[y < k], y[y < k]
    X = X + np.random.default_rng(0).normal(size=X.shape)
    model = LogisticRegression(max_iter=500).fit(X, y)
    classes = ("setosa", "versicolor", "virginica")[:k]
    w = np.random.default_rng(1).uniform(size=len(y))
    if k == 3 and name in ("roc_auc", "f1"):
        with pytest.raises(DataError, match=f"with 3 classes use '{name}_(ovr|macro)'"):
            find_metric(name, "classification", y, classes)
        return
    found = find_metric(name, "classification", y, classes)
    p = model.predict_proba(X)
    assert (found.name, found.task) == (name, "classification")
    assert found.measure(p, y) == pytest.approx(get_scorer(name)(model, X, y))
    assert found.measure(p, y, weights=w) == pytest.approx(get_scorer(name)(model, X, y, sample_weight=w))


def test_scorer_objects_and_functions_see_the_users_classes():
    from sklearn.metrics import f1_score, make_scorer

    rng = np.random.default_rng(0)
    p, y = probabilities(rng, 90, 2), rng.integers(2, size=90)
    words = np.array(["no", "yes"])[y]

    def share_of_yes(estimator, X, y) -> float:
        assert set(y) == {"no", "yes"}
        return float((estimator.predict(X) == "yes").mean())

    for scorer, expected in (
        (make_scorer(f1_score, pos_label="no"), f1_score(words, np.array(["no", "yes"])[p.argmax(1)], pos_label="no")),
        (share_of_yes, (p.argmax(1) == 1).mean()),
    ):
        found = find_metric(scorer, "classification", y, ("no", "yes"))
        assert found.measure(p, y) == pytest.approx(expected)
    assert "share_of_yes" in found.name
    whole = find_metric(make_scorer(f1_score, pos_label=7), "classification", y, ("3", "7"))
    assert whole.measure(p, y) == pytest.approx(f1_score(y, p.argmax(1)))


def test_scorers_of_numbers():
    rng = np.random.default_rng(0)
    y = rng.gamma(2.0, size=200)
    found = find_metric("neg_mean_absolute_error", "regression", y)
    assert found.measure(y + 0.5, y) == pytest.approx(-0.5)
    assert np.isnan(found.measure(y * np.nan, y))
    with pytest.raises(DataError, match="cannot score this regression: Mean Squared"):
        find_metric("neg_mean_squared_log_error", "regression", y).measure(-y, y)


@pytest.mark.parametrize(
    ("metric", "task", "words"),
    [
        ("roc_acu", "classification", "did you mean 'roc_auc'"),
        ("briar", "classification", "did you mean 'brier'"),
        ("r2", "classification", "measures numbers"),
        ("accuracy", "regression", "cannot score this regression"),
        ("f1_samples", "classification", "cannot score this classification"),
        (3, "regression", "got 3"),
        (lambda estimator, X, y: {"a": 1}, "regression", "cannot score"),
        (lambda y_true, y_pred: 1.0, "regression", "make_scorer"),
    ],
)
def test_metrics_that_cannot_be(metric, task, words):
    y = np.array([0, 1, 1, 0]) if task == "classification" else np.array([0.5, 1.5, 2.5, 3.25])
    with pytest.raises(DataError) as caught:
        find_metric(metric, task, y, ("a", "b") if task == "classification" else ())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_default_metrics_are_the_scores_of_before():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=80)
    parts = [Predicted(probabilities(rng, 80, 3), y, np.arange(80)) for _ in range(2)]
    found = find_metric(None, "classification", y, ("a", "b", "c"))
    assert found.name == find_metric("brier", "classification", y, ("a", "b", "c")).name == "brier"
    assert found.score(parts) == np.mean([score("classification", part.predictions, y) for part in parts])
    losses = np.concatenate([row_losses("classification", part.predictions, y) for part in parts])
    assert found.standard_error(parts) == standard_error("classification", losses, np.r_[np.arange(80), np.arange(80)])


@pytest.mark.parametrize("grouped", [False, True])
def test_standard_error_of_a_scorer_agrees_with_the_bootstrap(grouped):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(120), 5) if grouped else np.arange(600)
    y = rng.integers(2, size=120)[groups // (1 if grouped else 5)] if grouped else rng.integers(2, size=600)
    logit = 1.2 * y + rng.normal(size=120 if grouped else 600)[groups] + 0.1 * rng.normal(size=600)
    p = 1 / (1 + np.exp(-logit))
    part = Predicted(np.stack([1 - p, p], axis=1), y, groups)
    found = find_metric("roc_auc", "classification", y, ("a", "b"))
    count, again = len(np.unique(groups)), []
    members = [np.flatnonzero(groups == g) for g in range(count)]
    for _ in range(300):
        rows = np.concatenate([members[g] for g in rng.integers(count, size=count)])
        again.append(roc_auc_score(y[rows], p[rows]))
    assert found.standard_error([part]) == pytest.approx(np.std(again), rel=0.5)  # 20 blocks: 17 % by chance alone
    assert found.standard_error([part, part]) == pytest.approx(found.standard_error([part]))
    assert np.isnan(found.standard_error([Predicted(part.predictions, y, np.zeros(600))]))


def test_classes_that_validation_lacks_do_not_stop_a_scorer():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=60)
    found = find_metric("roc_auc_ovr", "classification", np.r_[y, 3], ("a", "b", "c", "d"))
    p = probabilities(rng, 60, 4)
    shares = p[:, :3] / p[:, :3].sum(axis=1, keepdims=True)
    from sklearn.metrics import roc_auc_score

    assert found.measure(p, y) == pytest.approx(roc_auc_score(y, shares, multi_class="ovr"))


def test_edges_are_finite_and_quiet():
    one_class = metrics("classification", np.tile([0.7, 0.3], (5, 1)), np.zeros(5, int))
    assert one_class["auc"] == 0.5
    assert one_class["balanced_accuracy"] == 1.0
    assert np.isfinite(metrics("classification", np.eye(2)[[1, 1]], np.array([0, 1]))["log_loss"])
    constant = metrics("regression", np.ones(4), np.ones(4))
    assert constant["r2"] == 1.0
    assert constant["rmse"] == 0.0
    assert standard_error("regression", np.zeros(4)) == 0.0
    assert np.isnan(standard_error("classification", np.ones(1)))
    assert score("regression", np.array([1e30, 0.0], np.float32), np.zeros(2, np.float32)) < -1e29


def test_predictions_that_are_not_finite_give_nan():
    bad = np.array([[np.nan, 0.5], [0.5, 0.5]])
    assert np.isnan(score("classification", bad, np.array([0, 1])))
    assert all(np.isnan(v) for v in metrics("classification", bad, np.array([0, 1])).values())
    assert all(np.isnan(v) for v in metrics("regression", np.array([np.nan, 1.0]), np.ones(2)).values())


@pytest.mark.parametrize(
    ("task", "predictions", "y", "scale", "words"),
    [
        ("classificatoin", np.ones((2, 2)), np.ones(2), 1.0, "did you mean 'classification'"),
        ("classification", np.ones(2), np.ones(2), 1.0, "[n, classes]"),
        ("regression", np.ones((2, 1)), np.ones(2), 1.0, "(2, 1)"),
        ("regression", np.ones(3), np.ones(2), 1.0, "(3,)"),
        ("regression", np.ones(0), np.ones(0), 1.0, "n >= 1"),
        ("classification", np.ones((2, 2)), np.array([0, 2]), 1.0, "0 to 2"),
        ("regression", np.ones(2), np.ones(2), 0.0, "got 0.0"),
        ("regression", np.ones(2), np.ones(2), float("nan"), "nan"),
    ],
)
def test_errors_say_the_rule_and_the_value(task, predictions, y, scale, words):
    with pytest.raises(DataError) as error:
        row_losses(task, predictions, y, scale)
    assert words in str(error.value)


def test_display():
    assert [display(task) for task in METRICS] == ["accuracy", "r2"]
    with pytest.raises(DataError):
        display("ranking")
