"""Meta-features: finite and quick everywhere, and right about problems whose answer is known."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.dataset import Dataset, load
from nas.metafeatures import LANDMARKERS, NAMES, VERSION, metafeatures

SHARED = Path(__file__).parents[2] / "shared" / "datasets"


def checked(data: Dataset) -> dict[str, float]:
    found = metafeatures(data)
    assert tuple(found) == NAMES
    assert all(type(value) is float and np.isfinite(value) for value in found.values())
    return found


def numbers(n: int = 600, d: int = 6, seed: int = 0) -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(n, d))


def test_names_are_many_and_distinct():
    assert VERSION == 1
    assert len(NAMES) == len(set(NAMES)) >= 25


def test_a_linear_problem_is_easiest_for_the_linear_landmarker():
    rng, X = numbers()
    found = checked(load((X, X @ np.arange(1, 7) + 0.01 * rng.normal(size=600))))
    assert found["relative_linear"] < 0.05
    assert found["tree_minus_linear"] > 0.2
    assert found["boosting_minus_linear"] > 0.1
    assert found["best_relative"] == found["relative_linear"]


def test_exclusive_or_is_easiest_for_trees():
    _, X = numbers(d=3)
    found = checked(load((X, (X[:, 0] > 0) ^ (X[:, 1] > 0))))
    assert found["relative_linear"] > 0.7
    assert found["relative_boosting"] < 0.4
    assert found["boosting_minus_linear"] < -0.4
    assert found["loss_boosting"] < found["loss_linear"]


def test_noise_is_hard_for_all():
    rng, X = numbers()
    for y in (rng.integers(2, size=600), rng.normal(size=600)):
        found = checked(load((X, y)))
        assert found["best_relative"] > 0.75
        assert abs(found["target_correlation"]) < 0.1


def test_landmarkers_agree_with_scikit_learn_on_the_same_problem():
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_wine(return_X_y=True)
    truth = 1 - cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, y).mean()
    assert checked(load("wine"))["error_linear"] == pytest.approx(truth, abs=0.05)


def test_sizes_and_shares_are_what_they_say():
    import pandas as pd

    n = 400
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(list("xyz"), n), "c": rng.integers(2, size=n)})
    frame.loc[:99, "a"] = np.nan
    found = checked(load((frame, np.arange(n) % 4 == 0)))
    assert found["log_rows"] == pytest.approx(np.log1p(n), abs=1e-6)
    assert found["log_columns"] == pytest.approx(np.log1p(3), abs=1e-6)
    assert found["fraction_categorical"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["missing"] == pytest.approx(1 / 12, abs=1e-6)
    assert found["missing_rows"] == pytest.approx(1 / 4, abs=1e-6)
    assert found["missing_columns"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["binary_columns"] == pytest.approx(1 / 2, abs=1e-6)
    assert found["y_commonest"] == pytest.approx(0.75)
    assert found["class_entropy"] == pytest.approx(-(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)), abs=1e-6)
    assert found["log_most_levels"] == pytest.approx(np.log1p(3), abs=1e-6)
    assert found["is_regression"] == 0.0


def test_skewed_targets_show():
    rng, X = numbers()
    normal = checked(load((X, rng.normal(size=600))))
    skewed = checked(load((X, rng.exponential(size=600))))
    assert abs(normal["y_skew"]) < 0.3
    assert skewed["y_skew"] > 0.8
    assert skewed["y_tails"] > normal["y_tails"]


def odd_datasets() -> list[Dataset]:
    import pandas as pd

    rng, X = numbers(40, 3)
    empty = X.copy()
    empty[:, 1] = np.nan
    words = pd.DataFrame({"a": rng.choice(list("xyz"), 40), "b": rng.choice(list("uv"), 40)})
    huge = X * np.array([1e30, 1e-30, 1.0])
    return [
        load((X[:4], [0, 0, 1, 1])),
        load((X[:4], ["a", "a", "b", "b"])),
        load((X[:2], [0.5, 1.5])),
        load((X[:3], [0.5, 1.5, 1.5])),
        load((X[:3], [0, 0, 1])),
        load((empty, np.arange(40) % 2)),
        load((np.full((40, 2), np.nan), np.arange(40) % 2)),
        load((np.zeros((40, 2)), rng.normal(size=40))),
        load((words, np.arange(40) % 3)),
        load((words, rng.normal(size=40))),
        load((huge, rng.normal(size=40) * 1e30)),
        load((X, np.r_[np.zeros(39), 1e-6])),
        load((X, np.arange(40) % 20)),
        load((X, np.arange(40) % 2), groups=np.arange(40) // 10),
        load((X, np.arange(40) // 20), groups=np.arange(40) // 20),
        load((rng.integers(256, size=(40, 5, 11, 3), dtype=np.uint8), np.arange(40) % 2)),
        load((rng.integers(256, size=(40, 1, 1), dtype=np.uint8), rng.normal(size=40))),
    ]


@pytest.mark.parametrize("index", range(17))
def test_odd_datasets_are_described(index):
    checked(odd_datasets()[index])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.integers(0, 12), st.floats(0, 0.9))
def test_any_small_table_is_described(seed, n, d, k, gaps):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) ** 3
    X[rng.random((n, d)) < gaps] = np.nan
    y = np.r_[0, 0, 1, rng.integers(k, size=n)][: n + 3] if k >= 2 else np.r_[0.5, 1.5, 2.5, rng.normal(size=n)]
    checked(load((np.vstack([X[:1], X[:1], X[:1], X]), y)))


def test_same_rows_same_numbers():
    data = load("digits")
    assert metafeatures(data) == metafeatures(data.subset(np.arange(len(data))))
    assert metafeatures(data) != metafeatures(data.subset(np.arange(900)))


def test_classes_beyond_ten_are_one_that_does_not_drown_the_others():
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 100
    found = checked(load((np.eye(100)[y] @ rng.normal(size=(100, 20)) + 0.1 * rng.normal(size=(3000, 20)), y)))
    assert found["relative_linear"] < 0.3  # the classes can be told apart, and it shows
    assert found["relative_nn1"] < 0.3


@pytest.mark.parametrize("classes", [0, 2, 10])
def test_ten_thousand_rows_of_fifty_columns_take_little_time(classes):
    rng, X = numbers(10_000, 50)
    y = X[:, 0] + X[:, 1] ** 2 + 0.3 * rng.normal(size=10_000)
    y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes)) if classes else y
    data, times = load((X, y)), []
    for _ in range(3):
        started = time.process_time()
        metafeatures(data)
        times.append(time.process_time() - started)
        if times[-1] < 3.0:
            break
    assert min(times) < 3.0  # .3 to .6 s on one idle core


@pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real datasets")
def test_real_datasets():
    for name in ("tabular/arcene", "tabular/audiology", "tabular/hotel_rates", "images/omniglot_small"):
        found = checked(load(SHARED / f"{name}.npz"))
        assert all(0.0 <= found[f"relative_{landmarker}"] <= 2.0 for landmarker in LANDMARKERS)
        assert found["best_relative"] < 0.8
