"""A search by any metric: the value is scikit-learn's on the same predictions, and everything bears its name."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, make_scorer, mean_absolute_error, roc_auc_score

import nas
import nas.result
from nas.cli.text import heading, trial_line
from nas.dataset import load
from nas.errors import DataError
from nas.loop import Search
from nas.metrics import find_metric
from nas.space import Choice, Integer, SearchSpace
from nas.training import Candidate, fit, train
from nas.training.company import split_seed

QUICK = nas.Fidelity(epochs=4, rows=1000, splits=2)


def space() -> SearchSpace:
    small = SearchSpace("small")
    small.add_input("x")
    small.add_node("a", "linear", width=Integer(4, 16))
    small.add_node("b", Choice("relu", "silu", "tanh"))
    small.add_output("y")
    for edge in (("x", "a"), ("a", "b"), ("b", "y")):
        small.add_edge(*edge)
    return small


def rows(kind: str, n: int = 160):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    signal = X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * rng.normal(size=n)
    return X, {"two": signal > 0, "three": np.digitize(signal, [-0.5, 0.5]), "numbers": 50 + 9 * signal}[kind]


def search(kind: str, **more):
    return nas.search(rows(kind), **({"space": space(), "trials": 1, "fidelity": QUICK, "history": None} | more))


BY_HAND = {
    "roc_auc": ("two", lambda y, p: roc_auc_score(y, p[:, 1])),
    "f1_macro": ("three", lambda y, p: f1_score(y, p.argmax(axis=1), average="macro")),
    "neg_mean_absolute_error": ("numbers", lambda y, p: -mean_absolute_error(y, p)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_search_maximises_what_scikit_learn_measures(name, tmp_path):
    kind, by_hand = BY_HAND[name]
    result = search(kind, metric=name, storage=tmp_path / "h.db")
    record, data = result.records[0], result.dataset
    metric = find_metric(name, data.task, data.y, data.classes)
    candidate = Candidate(record.architecture, record.settings)
    values, curves, epochs = [], [], []
    for i, split in enumerate(data.splits(2, 0)):
        seed = split_seed(0, i)
        trained = fit(candidate, data, split.train, epochs=4, seed=seed, validation=split.validation, metric=metric)
        values.append(by_hand(data.y[split.validation], trained.predict(data, split.validation)))
        curves.append(trained.curve)
        epochs.append(trained.best_epoch)
        assert trained.curve[trained.best_epoch - 1] == max(trained.curve) == pytest.approx(values[-1], rel=1e-5)
        early = fit(candidate, data, split.train, epochs=4, seed=seed, stop_epoch=2)
        at_two = by_hand(data.y[split.validation], early.predict(data, split.validation))
        assert trained.curve[1] == pytest.approx(at_two, rel=1e-5)
    assert record.score == pytest.approx(np.mean(values), rel=1e-6)
    assert record.outcome.curve == pytest.approx(np.mean(curves, axis=0), rel=1e-5)
    assert record.outcome.best_epochs == tuple(epochs)
    assert record.outcome.standard_error > 0
    assert {r.metric for r in (*result.records, *result.confirmed)} == {name} == {result.metric.name}
    assert f"{name} {result.confirmation.score:.4f}" in str(result)
    assert f" {record.score:.4f} ±" in trial_line(record)
    assert name in heading(record)
    assert f"{record.score:.4f}" in result.report(tmp_path / "r.html").read_text()


def test_the_default_metric_by_its_name_is_the_default(tmp_path):
    def begun(metric):
        data = load(rows("two"))
        with Search(data, space=space(), fidelity=QUICK, history=None, storage=tmp_path / "h", metric=metric) as made:
            return made.name, made._evaluator.key(made.space.default())

    assert begun("brier") == begun(None)
    assert all(one != other for one, other in zip(begun("roc_auc"), begun(None), strict=True))


def test_an_unknown_metric_gets_the_nearest_name():
    with pytest.raises(DataError, match="did you mean 'roc_auc'"):
        search("two", metric="roc_acu")


def test_a_function_without_a_name_belongs_to_its_search(tmp_path):
    def run(by, **more):
        return search(
            "two", metric=by, history=nas.MetaDataset.open(tmp_path / "h.db"), storage=tmp_path / "h.db", **more
        )

    one = run(lambda model, X, y: float((model.predict(X) == y).mean()), name="one")
    assert one.best.metric.endswith("<lambda> of one")
    assert one.records[0].score == pytest.approx(one.records[0].outcome.metrics["accuracy"])
    other = run(lambda model, X, y: -float((model.predict(X) == y).mean()), name="other")
    assert other.records[0].score < 0  # not what the history knows by another function
    again = run(lambda model, X, y: 0.5, name="one")
    assert again.records[0] == one.records[0]
    assert any("if the metric is another one now" in note for note in again.notes)


def test_an_object_is_named_alike_in_every_process():
    class Half:
        def __call__(self, model, X, y) -> float:
            return 0.5

    names = [Search(load(rows("two")), fidelity=QUICK, history=None, metric=Half()) for _ in range(2)]
    for each in names:
        each.__exit__()
    assert names[0].name == names[1].name
    assert " at 0x" not in names[0].metric.name
    made = find_metric(make_scorer(f1_score), "classification", np.array([0, 1]), ("False", "True"))
    assert "<" not in made.name


def test_a_metric_without_a_value_on_validation_rows_is_an_outcome():
    data = load(rows("two"))
    small = space()
    candidate = Candidate(small.architecture(small.default()), {})

    def undefined(model, X, y) -> float:
        return float("nan")

    metric = find_metric(undefined, data.task, data.y, data.classes)
    found = train([candidate], data, data.splits(2, 0), QUICK, seed=0, metric=metric)[0]
    assert found.status == "error"
    assert "is nan on validation rows" in found.message
