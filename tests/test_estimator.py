"""The estimators, by scikit-learn's own checks, against the search itself, and through files in a fresh process."""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import open_files
from safetensors import safe_open
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import nas
from nas import BUILTIN, Fidelity, NASClassifier, NASRegressor, SearchSpace
from nas.errors import ExportError, NasError

ROOT = Path(__file__).parents[1]


def _space(operations=BUILTIN, body="linear") -> SearchSpace:
    space = SearchSpace("small", operations=operations)
    space.add_input("x")
    space.add_node("hidden", body, width=32)
    space.add_node("activation", "relu")
    space.add_output("y")
    for source, target in (("x", "hidden"), ("hidden", "activation"), ("activation", "y")):
        space.add_edge(source, target)
    space.add_setting("learning_rate", nas.Float(0.1, 0.2))
    return space


SMALL = {"trials": 1, "history": None, "controller": "random", "space": _space(), "fidelity": Fidelity(4, 1000, 1)}
QUICK = {**SMALL, "fidelity": Fidelity(1, 1000, 1)}
LONGER = {**SMALL, "fidelity": Fidelity(20, 1000, 1)}
BY_ROW = "splits and batches are drawn by row, so that a row of weight 2 is not the same as two rows"
EXPECTED = {f"check_sample_weight_equivalence_on_{kind}_data": BY_ROW for kind in ("dense", "sparse")}


@parametrize_with_checks([NASClassifier(**SMALL), NASRegressor(**SMALL)], expected_failed_checks=lambda _: EXPECTED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# --- the same as a search ---------------------------------------------------------------------------------------------


def test_what_is_fitted_is_what_the_search_finds(tmp_path):
    X, y = load_iris(return_X_y=True)
    fitted = NASClassifier(**QUICK, random_state=3, storage=tmp_path / "a.db").fit(X, y)
    found = nas.search((X, y), **QUICK, seed=3, storage=tmp_path / "b.db")
    assert fitted.record_.architecture == found.best.architecture
    assert fitted.record_.score == found.best.score
    with torch.inference_mode():
        theirs = found.model()(torch.from_numpy(X.astype(np.float32))).numpy()
    np.testing.assert_array_equal(fitted.predict_proba(X), theirs)
    assert str(fitted.explain()) == str(found.explain())
    assert fitted.score(X, y) == np.mean(fitted.predict(X) == y)


def test_parameters_have_the_defaults_of_a_search():
    ours = inspect.signature(NASClassifier).parameters
    theirs = inspect.signature(nas.search).parameters
    assert {name: ours[name].default for name in ours if name != "random_state"} == {
        name: theirs[name].default for name in ours if name != "random_state"
    }
    assert inspect.signature(NASRegressor) == inspect.signature(NASClassifier)


def test_the_metric_is_what_the_search_maximises(tmp_path):
    X, y = load_iris(return_X_y=True)
    found = NASClassifier(**QUICK, metric="roc_auc_ovr").fit(X, y)
    assert found.record_.metric == "roc_auc_ovr"
    assert clone(found).metric == "roc_auc_ovr"
    found.save(tmp_path / "iris.nas")
    assert NASClassifier.load(tmp_path / "iris.nas").metric == "roc_auc_ovr"
    words = np.array(["no", "yes"])[(y > 0).astype(int)]
    scorer = make_scorer(f1_score, pos_label="no")  # knows the labels of y, not codes
    by_word = NASClassifier(**QUICK, metric=scorer).fit(X, words)
    assert by_word.record_.score > 0.5
    by_word.save(tmp_path / "words.nas")
    assert NASClassifier.load(tmp_path / "words.nas").metric is None
    assert NASRegressor(**QUICK, metric="r2").fit(X, X[:, 0]).record_.metric == "r2"
    with pytest.raises(NasError, match="did you mean 'roc_auc'"):
        NASClassifier(**QUICK, metric="roc_acu").fit(X, words)
    scores = cross_val_score(NASClassifier(**QUICK, metric="accuracy"), X, words, cv=2)
    assert scores.shape == (2,)


def test_one_seed_is_one_network_and_none_draws_one(tmp_path):
    X, y = make_classification(60, random_state=0)

    def fitted(seed, place):
        return NASClassifier(**QUICK, random_state=seed, storage=tmp_path / place).fit(X, y).predict_proba(X)

    np.testing.assert_array_equal(fitted(1, "a.db"), fitted(1, "b.db"))
    drawn = np.random.RandomState(5)
    first, second = fitted(drawn, "c.db"), fitted(drawn, "c.db")
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, fitted(np.random.RandomState(5), "d.db"))
    np.random.seed(0)
    free = fitted(None, "e.db")
    np.random.seed(0)
    np.testing.assert_array_equal(free, fitted(None, "f.db"))


def test_rows_of_weight_zero_are_no_rows_and_groups_are_kept_apart():
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(60, 3)), rng.normal(size=60), rng.integers(0, 2, 60)
    kept = weights > 0
    weighted = NASRegressor(**QUICK).fit(X, y, sample_weight=weights)
    without = NASRegressor(**QUICK).fit(X[kept], y[kept], sample_weight=np.ones(kept.sum()))
    np.testing.assert_array_equal(weighted.predict(X), without.predict(X))
    groups = np.repeat(np.arange(12), 5)
    grouped = NASRegressor(**QUICK).fit(X, y, groups=groups).result_.dataset
    for split in grouped.splits(3, 0):
        assert not set(groups[split.train]) & set(groups[split.validation])


def test_a_search_at_hand_is_continued_and_nothing_stays_open(tmp_path):
    X, y = load_iris(return_X_y=True)
    grid = GridSearchCV(NASClassifier(**QUICK, storage=tmp_path / "a.db"), {"trials": [1, 2]}, cv=2)
    grid.fit(X, y)
    best = grid.best_estimator_
    assert len(best.result_.records) == best.trials
    with nas.MetaDataset.open(tmp_path / "a.db") as history:
        assert len(history.searches()) == 3  # one a fold and the refit: two trials continue one
        assert clone(NASClassifier(history=history)).history is history
    assert not any(str(tmp_path) in name for name in open_files())


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(n: int = 80) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=n), "town": rng.choice(["Ulm", "Bern", "Graz"], n)})
    frame["level"] = pd.Categorical(rng.choice(["low", "high"], n), categories=["low", "high"])
    frame["day"] = pd.date_range("2020-01-01", periods=n)
    frame.loc[3, "size"] = np.nan
    frame.loc[5, "town"] = None
    return frame, pd.Series(np.where(frame["town"] == "Ulm", "yes", "no"), name="answer")


def test_tables_of_words_gaps_and_dates():
    frame, y = _table()
    fitted = NASClassifier(**LONGER).fit(frame, y)
    assert fitted.score(frame, y) > 0.9
    assert list(fitted.feature_names_in_) == list(frame.columns)
    assert list(fitted.classes_) == ["no", "yes"] == list(fitted.result_.dataset.classes)
    assert set(fitted.predict(frame.assign(town="Wien"))) <= {"no", "yes"}  # a word no row of training had
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        from_array = fitted.predict_proba(frame.to_numpy())
    np.testing.assert_allclose(from_array, fitted.predict_proba(frame), rtol=1e-5)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"town": "city"}))
    with pytest.raises(ValueError, match="infinity"):
        fitted.predict(frame.assign(size=np.inf))
    with pytest.raises(ValueError, match="0 sample"):
        fitted.predict(frame[:0])


def test_cells_of_all_kinds_without_names():
    frame, y = _table()
    cells = frame[["size", "town"]].to_numpy()
    fitted = NASClassifier(**QUICK).fit(cells.tolist(), y)
    np.testing.assert_array_equal(fitted.predict(cells), fitted.predict(frame[["size", "town"]].to_numpy().tolist()))
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.n_features_in_ == 2
    with pytest.raises(ValueError, match="X has 1 features, but NASClassifier is expecting 2 features as input"):
        fitted.predict(cells[:, :1])


def test_pipelines_and_cross_validation():
    frame, y = _table()
    scaled = make_column_transformer((StandardScaler(), ["size"]), remainder="passthrough")
    pipeline = make_pipeline(scaled.set_output(transform="pandas"), NASClassifier(**LONGER))
    assert cross_val_score(pipeline, frame, y, cv=2).mean() > 0.8


def test_sparse_and_dense_rows_are_the_same():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((60, 5)) < 0.6, 0.0, rng.normal(size=(60, 5)))
    y = X.sum(axis=1)
    dense = NASRegressor(**QUICK).fit(X, y)
    thin = NASRegressor(**QUICK).fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(thin.predict(sparse.coo_array(X)), dense.predict(X))


def test_images():
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    images[y == 1, :4] //= 4
    fitted = NASClassifier(**{**QUICK, "space": None}).fit(images, y)
    assert fitted.result_.dataset.kind == "image"
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))


def test_tags_say_what_is_taken():
    tags = get_tags(NASClassifier())
    inputs = tags.input_tags
    assert inputs.allow_nan
    assert inputs.sparse
    assert inputs.string
    assert inputs.categorical
    assert not tags.non_deterministic
    assert get_tags(NASRegressor(seconds=1)).non_deterministic


def test_one_class_is_refused_in_one_sentence():
    X = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(ValueError, match="has one class, 'a'; add others"):
        NASClassifier(**QUICK).fit(X, ["a"] * 10)
    with pytest.raises(ValueError, match="has one class, 'b'"):
        NASClassifier(**QUICK).fit(X, ["a"] * 5 + ["b"] * 5, sample_weight=[0] * 5 + [1] * 5)


@pytest.mark.parametrize("kind", [list, np.array, lambda words: np.array(words, dtype=object)])
def test_words_are_no_regression_target(kind):
    with pytest.raises(NasError, match="a regression target must be numbers"):
        NASRegressor(trials=1).fit(np.zeros((20, 2)), kind(["cheap", "dear"] * 10))


def test_a_fit_that_fails_leaves_no_half_of_an_earlier_one():
    X, y = load_iris(return_X_y=True)
    fitted = NASClassifier(**QUICK).fit(X, y)
    with pytest.raises(NasError):
        fitted.fit(X, ["a"] * len(y))
    with pytest.raises(NotFittedError):
        fitted.predict(X)
    with pytest.raises(NotFittedError):
        fitted.save("never")


# --- files ------------------------------------------------------------------------------------------------------------

LABELS = {
    "words": np.array(["", " a", "naïve \U0001f600"]),
    "objects": np.array(["no", "perhaps", "yes"], dtype=object),
    "numbers": np.array([-(2**40), 7, 2**60]),
    "floats": np.array([1.0, 2.0, 3.0]),
    "truth": np.array([False, True]),
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    frame, y = _table()
    return NASClassifier(**QUICK, storage=tmp_path_factory.mktemp("fitted") / "a.db", max_size="1MB").fit(frame, y)


def test_a_fresh_process_predicts_the_same_bits(fitted, tmp_path):
    frame, _ = _table()
    values = np.random.default_rng(1).normal(size=len(frame))
    regressor = NASRegressor(**QUICK).fit(frame, values)
    for name, estimator in (("classifier", fitted), ("regressor", regressor)):
        estimator.save(tmp_path / name)
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(estimator))
    frame.to_pickle(tmp_path / "frame")
    code = (
        "import pickle, sys, numpy, pandas\nfrom nas import NASClassifier, NASRegressor\n"
        "X = pandas.read_pickle('frame')\n"
        "kinds = ((NASClassifier, 'classifier', 'predict_proba'), (NASRegressor, 'regressor', 'predict'))\n"
        "for cls, name, method in kinds:\n"
        "    for found, how in ((cls.load(name), 'file'), (pickle.load(open(name + '.pkl', 'rb')), 'pickle')):\n"
        "        numpy.save(f'{name}.{how}.npy', getattr(found, method)(X))\n"
        "assert 'sqlalchemy' not in sys.modules and 'optuna' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    for how in ("file", "pickle"):
        np.testing.assert_array_equal(np.load(tmp_path / f"classifier.{how}.npy"), fitted.predict_proba(frame))
        np.testing.assert_array_equal(np.load(tmp_path / f"regressor.{how}.npy"), regressor.predict(frame))


def test_a_file_brings_back_all_but_the_search_and_the_places(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = NASClassifier.load(tmp_path / "model")
    frame, _ = _table()
    kept = ("trials", "controller", "fidelity", "max_size", "random_state", "seconds", "device")
    assert {name: getattr(again, name) for name in kept} == {name: getattr(fitted, name) for name in kept}
    assert (again.history, again.storage, again.space) == ("yours", None, None)
    assert again.classes_.tolist() == fitted.classes_.tolist()
    assert again.classes_.dtype == fitted.classes_.dtype
    assert again.record_ == fitted.record_
    assert again.explain() == fitted.explain()
    assert again.feature_names_in_.tolist() == fitted.feature_names_in_.tolist()
    assert copy.deepcopy(again).predict(frame).tolist() == fitted.predict(frame).tolist()
    assert not hasattr(clone(again), "classes_")
    for estimator in (again, pickle.loads(pickle.dumps(fitted))):
        with pytest.raises(AttributeError, match="`result_` holds the training rows"):
            estimator.result_  # noqa: B018
    content = (tmp_path / "model").read_bytes()
    assert str(fitted.storage).encode() not in content
    with safe_open(tmp_path / "model", "numpy") as file:
        assert json.loads(file.metadata()["nas.estimator"])["format"] == 1


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were(tmp_path, kind):
    labels = LABELS[kind]
    X, codes = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % len(labels)
    named = NASClassifier(**QUICK).fit(X, labels[codes])
    named.save(tmp_path / kind)
    found = NASClassifier.load(tmp_path / kind)
    assert found.classes_.dtype == labels.dtype
    assert found.predict(X).tolist() == named.predict(X).tolist()
    assert set(found.predict(X).tolist()) <= set(labels.tolist())


def test_operations_of_a_users_own_are_asked_for(tmp_path):
    own = BUILTIN | {"wide": replace(BUILTIN["linear"], name="wide")}
    X, y = load_iris(return_X_y=True)
    fitted = NASClassifier(**{**QUICK, "space": _space(own, "wide")}).fit(X, y)
    fitted.save(tmp_path / "model")
    with pytest.raises(ExportError, match="operation 'wide' is not known"):
        NASClassifier.load(tmp_path / "model")
    again = NASClassifier.load(tmp_path / "model", operations=own)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), fitted.predict_proba(X))


def test_files_of_other_kinds_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    with pytest.raises(
        ExportError, match=r"must hold a NASRegressor, but holds a NASClassifier; use NASClassifier.load"
    ):
        NASRegressor.load(tmp_path / "model")
    with pytest.raises(ExportError, match="cannot be read"):
        NASClassifier.load(tmp_path / "none")
    with pytest.raises(ExportError, match="cannot be read"):
        NASClassifier.load(tmp_path)
    with pytest.raises(ExportError, match="folder"):
        fitted.save(tmp_path)
    (tmp_path / "bomb").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ExportError, match="damaged or of another format"):
        NASClassifier.load(tmp_path / "bomb")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a file was executed",))


def _rewritten(content: bytes, change) -> bytes:
    """The file with its JSON changed and the tensors as they were."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    words = json.loads(header["__metadata__"]["nas.estimator"])
    change(words)
    header["__metadata__"]["nas.estimator"] = json.dumps(words)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _put(path: str, value):
    def change(words):
        *way, last = path.split("/")
        for step in way:
            words = words[int(step) if isinstance(words, list) else step]
        words[int(last) if isinstance(words, list) else last] = value

    return change


HOSTILE = {
    "newer": (_put("format", 2), "update nas"),
    "no number": (_put("format", True), "must have format 1"),
    "huge": (_put("record/architecture/nodes/1/parameters/width", 1_000_000), "parameters and the file"),
    "unknown operation": (_put("record/architecture/nodes/1/op", "liner"), "did you mean 'linear'"),
    "a path": (_put("record/architecture/nodes/1/op", "../../etc/passwd"), "'../../etc/passwd' is not known"),
    "a cycle": (_put("record/architecture/edges", [[0, 1, 1], [1, 2, 1], [2, 1, 1], [2, 3, 1]]), "cycle"),
    "a million nodes": (_put("record/architecture/nodes", [{"op": "relu"}] * 1_000_000), "at most 4096 nodes"),
    "other shapes": (_put("preprocess/shapes/x", [3]), "must hold"),
    "other view": (_put("preprocess/views", ["y"]), "view 'y' does not exist"),
    "fewer levels": (_put("schema/levels/0", []), "categorical columns are not those of its schema"),
    "fewer columns": (_put("schema/features/numeric", ["size"]), "numeric columns are not those of its schema"),
    "other classes": (_put("schema/classes", ["a", "b", "c"]), "must hold"),
    "unknown input": (_put("schema/features/text", ["a"]), "input 'text' is unknown"),
    "other kind": (_put("schema/kind", "sound"), "must hold"),
    "unknown parameter": (_put("estimator/parameters", {"n_jobs": 1}), "description is malformed"),
    "a place": (_put("estimator/parameters", {"storage": "postgresql://elsewhere/db"}), "description is malformed"),
    "other labels": (_put("estimator/classes/labels", ["a"]), "labels"),
    "type of labels": (_put("estimator/classes/dtype", "V8"), "labels"),
    "no names": (_put("estimator/feature_names_in", ["a"]), "description is malformed"),
    "no class": (_put("estimator/class", None), "must hold a NASClassifier"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_sentence(fitted, tmp_path, kind):
    change, message = HOSTILE[kind]
    fitted.save(tmp_path / "model")
    (tmp_path / "model").write_bytes(_rewritten((tmp_path / "model").read_bytes(), change))
    with pytest.raises(ExportError, match=message) as caught:
        NASClassifier.load(tmp_path / "model")
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_an_export_error_or_harmless(fitted, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    fitted.save(folder / "model")
    content = bytearray((folder / "model").read_bytes())
    cut = data.draw(st.integers(0, len(content)))
    if data.draw(st.booleans()):
        content = content[:cut]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "model").write_bytes(bytes(content))
    frame, _ = _table(10)
    try:
        found = NASClassifier.load(folder / "model")
    except ExportError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    with contextlib.suppress(ValueError):  # the name of a column may be another one
        assert found.predict_proba(frame).shape == (10, 2)
