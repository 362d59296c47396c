"""Datasets in memory: splits and fingerprints by their properties, arrays and targets by the values people have."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messy import error_of

from nas.dataset import BUNDLED, Dataset, encode_rows, load
from nas.dataset.splits import split
from nas.errors import DataError

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(n: int = 60, seed: int = 0, classes: int = 3) -> Dataset:
    rng = np.random.default_rng(seed)
    return load((rng.normal(size=(n, 4)), np.r_[np.arange(classes), rng.integers(classes, size=n - classes)]))


# ---------------------------------------------------------------------------------------------------------- splits


@quick
@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=120),
    st.integers(0, 2**31),
    st.floats(0.05, 0.95),
)
def test_stratified_split_is_a_partition_with_every_class_on_both_sides(codes, seed, fraction):
    y = np.array(codes)
    counts = np.bincount(y)
    if counts.max() < 2:
        with pytest.raises(DataError):
            split(len(y), fraction, np.random.default_rng(seed), y)
        return
    parts = split(len(y), fraction, np.random.default_rng(seed), y)
    assert np.array_equal(np.sort(np.r_[parts.train, parts.validation]), np.arange(len(y)))
    held = np.bincount(y[parts.validation], minlength=len(counts))
    assert (held[counts >= 2] >= 1).all()
    assert (held[counts >= 2] < counts[counts >= 2]).all()
    assert (held[counts == 1] == 0).all()
    assert (np.abs(held - counts * fraction)[counts >= 2] <= 1 + 1e-9).all()
    again = split(len(y), fraction, np.random.default_rng(seed), y)
    assert np.array_equal(parts.train, again.train)
    assert np.array_equal(parts.validation, again.validation)


@quick
@given(st.lists(st.integers(0, 8), min_size=4, max_size=80), st.integers(0, 2**31), st.booleans())
def test_groups_stay_on_one_side(groups, seed, stratify):
    rng = np.random.default_rng(seed)
    groups, y = np.array(groups), rng.integers(2, size=len(groups))
    if len(np.unique(groups)) < 2:
        with pytest.raises(DataError, match="two groups"):
            split(len(y), 0.25, rng, y, groups)
        return
    parts = split(len(y), 0.25, rng, y if stratify else None, groups)
    assert 0 < len(parts.train) < len(y)
    assert not set(groups[parts.train]) & set(groups[parts.validation])
    assert len(parts.train) + len(parts.validation) == len(y)


def test_grouped_splits_keep_classes_on_both_sides_where_groups_allow():
    groups = np.repeat(np.arange(10), 6)
    y = (groups % 5 == 0).astype(int)  # two groups of the rare class: each split must part them
    for seed in range(20):
        parts = split(60, 0.25, np.random.default_rng(seed), y, groups)
        assert set(y[parts.train]) == set(y[parts.validation]) == {0, 1}


@quick
@given(st.integers(2, 50), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_regression_split_has_the_fraction(n, fraction, seed):
    parts = split(n, fraction, np.random.default_rng(seed))
    assert len(parts.validation) == min(max(round(n * fraction), 1), n - 1)


def test_splits_depend_on_seed_and_index_only():
    data = table()
    two, four = data.splits(2, seed=7), data.splits(4, seed=7)
    assert np.array_equal(two[1].train, four[1].train)
    assert not np.array_equal(four[0].validation, four[1].validation)
    assert not np.array_equal(two[0].validation, data.splits(1, seed=8)[0].validation)
    assert len(two[0].validation) == 15


def test_a_prefix_of_the_training_rows_is_a_sample():
    data = load((np.zeros((1000, 1)) + np.arange(1000)[:, None], np.repeat([0, 1], 500)))
    first = data.y[data.splits(1, seed=0)[0].train[:200]]
    assert 70 < first.sum() < 130


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1, 2, float("nan")])
def test_impossible_fractions(fraction):
    with pytest.raises(DataError, match="fraction"):
        table().splits(1, seed=0, fraction=fraction)


def test_holdout_is_apart_and_uses_the_given_test_part():
    data = table(100)
    rest, test = data.holdout(seed=1)
    assert (len(rest), len(test)) == (80, 20)
    rows = {row.tobytes() for row in rest.inputs["numeric"]}
    assert not rows & {row.tobytes() for row in test.inputs["numeric"]}
    mask = np.arange(100) >= 70
    rest, test = replace(data, given_test=mask).holdout(seed=1)
    assert np.array_equal(test.inputs["numeric"], data.inputs["numeric"][70:])
    assert rest.given_test is None
    assert len(rest) == 70


# ------------------------------------------------------------------------------------------------- value, identity


def test_fingerprint_is_content_alone():
    X, y = np.arange(40.0).reshape(10, 4), np.arange(10) % 2
    data = load((X, y), name="a")
    same = [
        load((np.asfortranarray(X), y.astype(np.int8)), name="b"),
        load((X.astype(np.float32), y)),
        replace(data, features={"numeric": ("p", "q", "r", "s")}, family="z", dropped=("x",)),
        load((np.hstack([X, X])[:, :4], y)),
        pickle.loads(pickle.dumps(data)),
        load((X - 0.0, y)),
    ]
    assert {d.fingerprint for d in same} == {data.fingerprint}
    changed = X.copy()
    changed[3, 1] += 1e-3
    other = [
        load((changed, y)),
        load((X[:, ::-1], y)),
        load((X, 1 - y)),
        load((X[::-1], y[::-1])),
        load((X, y), groups=y),
        load((X, y.astype(float)), task="regression"),
        data.subset(np.arange(9)),
    ]
    assert len({d.fingerprint for d in other} | {data.fingerprint}) == len(other) + 1


def test_fingerprint_knows_one_nan_and_one_zero():
    X = np.ones((4, 2), np.float32)
    a, b = X.copy(), X.copy()
    a[0, 0], b[0, 0] = np.nan, -np.float32(np.nan)
    a[1, 1], b[1, 1] = 0.0, -0.0
    y = [0, 1, 0, 1]
    assert load((a, y)).fingerprint == load((b, y)).fingerprint


def test_subset_keeps_order_classes_and_masks():
    data = replace(table(30), given_test=np.arange(30) < 5, groups=np.arange(30))
    part = data.subset(np.array([4, 2, 9]))
    assert np.array_equal(part.inputs["numeric"], data.inputs["numeric"][[4, 2, 9]])
    assert part.classes == data.classes
    assert part.groups is not None
    assert part.given_test is not None
    assert list(part.groups) == [4, 2, 9]
    assert list(part.given_test) == [True, True, False]
    assert len(data.subset(data.y == 1)) == int((data.y == 1).sum())


def test_dataset_refuses_what_breaks_its_rules():
    data = table()
    x = data.inputs["numeric"]
    for change in (
        {"kind": "audio"},
        {"task": "ranking"},
        {"inputs": {}},
        {"inputs": {"numeric": x.astype(np.float64)}},
        {"inputs": {"numeric": x[:-1]}},
        {"inputs": {"numeric": np.full_like(x, np.inf)}},
        {"inputs": {"image": x}},
        {"y": data.y.astype(np.int32)},
        {"y": data.y + 1},
        {"groups": np.arange(3)},
        {"features": {"numeric": ("one",)}},
    ):
        with pytest.raises(DataError):
            replace(data, **change)


def test_describe():
    assert load("digits").describe() == "1,797 rows x 64 numbers, 10 classes"
    assert load("diabetes").describe() == "442 rows x 10 numbers, regression"
    image = load((np.zeros((4, 8, 9, 3), np.uint8), [0, 1, 0, 1]))
    assert image.describe() == "4 images 8 x 9 x 3, 2 classes"
    assert (image.columns, image.outputs) == (216, 2)


def test_bundled_names():
    for name in BUNDLED:
        data = load(name)
        assert data.name == name
        assert len(data.features["numeric"]) == data.inputs["numeric"].shape[1]
    assert load("iris").classes == ("setosa", "versicolor", "virginica")
    assert load("diabetes").task == "regression"
    assert "did you mean 'digits'" in error_of("digit")


# ------------------------------------------------------------------------------------------------- target and task


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (["b", "a"] * 5, "classification", ("a", "b")),
        ([True, False] * 5, "classification", ("False", "True")),
        ([0.0, 1.0] * 5, "classification", ("0", "1")),
        ([10, 9, 100] * 5, "classification", ("9", "10", "100")),
        ([-1, 1] * 5, "classification", ("-1", "1")),
        (list(range(26)) * 6, "classification", tuple(map(str, range(26)))),
        (list(range(20, 71)) * 6, "regression", ()),
        ([0.5, 1.5] * 5, "regression", ()),
        (list(range(10)), "regression", ()),
        (np.array(["b", "a"] * 5, dtype=object), "classification", ("a", "b")),
        (np.array([1, 2.0, True, np.int64(2)] * 5, dtype=object), "classification", ("1", "2")),
    ],
)
def test_task_and_classes_follow_the_values(y, task, classes):
    data = load((np.arange(len(y) * 2.0).reshape(-1, 2), y))
    assert (data.task, data.classes) == (task, classes)
    if task == "classification":
        assert [data.classes[c] for c in data.y] == [
            str(int(v)) if not isinstance(v, str | bool | np.bool_) or "1" in classes else str(v) for v in y
        ]


def test_task_can_be_said():
    X = np.zeros((40, 1)) + np.arange(40)[:, None]
    assert load((X, np.arange(40) % 4), task="regression").y.dtype == np.float32
    assert load((X, np.arange(40) % 30 / 2), task="classification").outputs == 30
    assert "task must be one of" in error_of((X, np.arange(40)), task="classify")
    assert "must be numbers" in error_of((X, ["a", "b"] * 20), task="regression")
    data = load("iris")
    assert load(data) is data
    assert "regression" in error_of(data, task="regression")


def test_whole_numbers_that_could_be_classes_are_said():
    X, codes = np.arange(400.0).reshape(200, 2), np.arange(200) % 40 * 3
    data = load((X, codes))
    assert data.task == "regression"
    assert "pass task='classification' if its values are classes" in data.dropped[0]
    assert load((X, codes), task="regression").dropped == ()
    assert load((X, codes), task="classification").outputs == 40


def test_whole_numbers_of_numpy_are_whole_numbers():
    import pandas as pd

    frame = pd.DataFrame(np.arange(40.0).reshape(20, 2)).assign(y=np.arange(20) % 2).rename(columns={"y": 7})
    data = load(frame, target=np.int64(7), groups=np.int64(1))
    assert data.target == "7"
    assert data.groups is not None
    assert len(data.splits(np.int64(2), np.int64(3), np.float32(0.5))) == 2
    assert len(data.holdout(np.uint8(1), np.float64(0.3))[1]) == 6


def test_rows_without_a_target_are_left_out_and_said():
    import pandas as pd

    X = np.arange(12.0).reshape(6, 2)
    for y in (
        [0, 1, np.nan, 0, 1, 1],
        ["a", "b", None, "a", "b", "b"],
        ["a", "b", " ", "a", "b", "b"],
        [0, 1, np.inf, 0, 1, 1],
    ):
        data = load((X, np.array(y, dtype=object) if None in y else y), groups=np.arange(6))
        assert np.array_equal(data.inputs["numeric"], X[[0, 1, 3, 4, 5]])
        assert data.groups is not None
        assert list(data.groups) == [0, 1, 3, 4, 5]
        assert data.dropped[0].startswith("1 of 6 rows")
    nullable = pd.Series([0, 1, None, 0, 1, 1], dtype="Int64")
    assert len(load((X, nullable))) == 5


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([np.nan] * 6, "all 6 are missing"),
        ([1] * 6, "always '1'"),
        ([1.5] * 6, "always 1.5"),
        (["a"] * 6, "always 'a'"),
        (["a", "b", "c", "d", "e", "f"], "different"),
        ([1e300, 1, 2.5, 3, 4, 5], "32-bit"),
        ([[1], [2], [3]] * 2, ""),
        (np.zeros((6, 2)), "one column"),
        (np.array([{}] * 6, dtype=object), "dict"),
        (np.array(["2020-01-01"] * 6, dtype="datetime64[D]"), "datetime64"),
        (np.ones(6) * 1j, "complex"),
        ([1, 2, 3], "same rows"),
        (7, "same rows"),
    ],
)
def test_targets_that_cannot_be_learned(y, words):
    if words == "":
        assert load((np.arange(12.0).reshape(6, 2), y)).task == "classification"  # a single column is unpacked
    else:
        assert words in error_of((np.arange(12.0).reshape(6, 2), y))


# ---------------------------------------------------------------------------------------------------------- arrays


def test_arrays_keep_every_column_in_order():
    X = np.array([[1.0, np.nan, np.inf], [1, np.nan, 2], [1, np.nan, 3], [1, np.nan, 1e300]])
    data = load((X, [0, 1, 0, 1]))
    kept = data.inputs["numeric"]
    assert kept.shape == (4, 3)
    assert np.isnan(kept[[0, 3], 2]).all()
    assert "2 infinite values" in data.dropped[0]
    assert data.features["numeric"] == ("f0", "f1", "f2")


def test_object_and_text_arrays_are_read_column_by_column():
    X = np.array([[1, "red", True], [2.5, "blue", False], [None, "red", True], [4, None, False]], dtype=object)
    data = load((X, [0, 1, 0, 1]))
    assert data.features == {"numeric": ("f0", "f2"), "categorical": ("f1",)}
    np.testing.assert_array_equal(data.inputs["numeric"], np.array([[1, 1], [2.5, 0], [np.nan, 1], [4, 0]], np.float32))
    assert data.inputs["categorical"].ravel().tolist() == [1, 0, 1, -1]
    again = encode_rows(X, data.schema())
    np.testing.assert_array_equal(again["categorical"], data.inputs["categorical"])
    assert "list" in error_of((np.array([[[1], 2], [3, [4]]], dtype=object), [0, 1]))


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((1, 2)), [0], "two rows"),
        (np.zeros((0, 2)), [], "two rows"),
        (np.zeros((4, 0)), [0, 1, 0, 1], "column"),
        (np.zeros(4), [0, 1, 0, 1], "reshape(-1, 1)"),
        (np.zeros((4, 2)) * 1j, [0, 1, 0, 1], "complex"),
        ([[1, 2], [3]], [0, 1], "ragged"),
        (np.zeros((3, 2)), [0, 1, 0, 1], "3 and 4"),
    ],
)
def test_arrays_that_cannot_be_learned(X, y, words):
    assert words in error_of((X, y))


def test_other_things_are_refused():
    assert "but got int" in error_of(3)
    assert "but got dict" in error_of({"a": 1})
    assert "no file" in error_of("/no/such/file.csv", target="y")


def test_sparse_matrices_and_series():
    from scipy import sparse

    X = sparse.random(20, 5, density=0.5, random_state=0)
    assert np.allclose(load((X.tocsr(), np.arange(20) % 2)).inputs["numeric"], X.toarray())
    series = np.random.default_rng(0).normal(size=(20, 2, 7))
    data = load((series, np.arange(20) % 2))
    assert data.inputs["series"].shape == (20, 2, 7)
    data = load((series, np.arange(20) % 2), kind="tabular")
    assert data.inputs["numeric"].shape == (20, 14)
    assert "2 x 7" in data.dropped[0]
