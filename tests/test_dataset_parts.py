"""Which rows may decide what: test and validation parts, drawn or given; groups, weights and the order of time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from messy import error_of

from nas.dataset import Dataset, encode_rows, load
from nas.dataset.splits import split_by_time
from nas.errors import DataError

quick = settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def frame(n: int = 60, seed: int = 0):
    import pandas as pd

    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "word": rng.choice(["red", "green", "blue"], n),
            "digits": [str(i) for i in rng.integers(100, size=n)],
            "when": pd.date_range("2024-01-01", periods=n).strftime("%Y-%m-%d"),
            "size": pd.Categorical(rng.choice(["s", "m"], n), categories=["s", "m", "l"]),
            "y": rng.normal(size=n),
        }
    )


def same(one: Dataset, other: Dataset) -> None:
    assert one.fingerprint == other.fingerprint
    assert (one.features, one.levels, one.dates, one.classes) == (
        other.features,
        other.levels,
        other.dates,
        other.classes,
    )


# ------------------------------------------------------------------------------------------- what test rows may decide

CELLS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6),
    st.floats(width=32),
    st.text(max_size=5),
    st.sampled_from(
        ["red", "new", "1e400", "NaN", "2024-13-45", "a b c d e f g h i j k l m n o p q r s t u v w x y z"]
    ),
)


@settings(quick, max_examples=15)
@given(st.data(), st.sampled_from(["number", "word", "digits", "when", "size"]))
def test_nothing_in_the_rest_depends_on_values_of_test_rows(data, column):
    plain = frame()
    if column == "size":  # declared categories belong to the column, not to its rows
        plain["size"] = plain["size"].astype(object)
    rest, test = load(plain, target="y").holdout(seed=0)
    rows = np.flatnonzero(np.isin(plain["y"].to_numpy().astype(np.float32), test.y))
    changed = plain.copy()
    changed[column] = changed[column].astype(object)
    for row in rows:
        changed.loc[row, column] = data.draw(CELLS)
    changed.loc[rows, "y"] = data.draw(st.lists(st.floats(-9, 9), min_size=len(rows), max_size=len(rows)))
    other, others = load(changed, target="y").holdout(seed=0)
    same(rest, other)
    assert len(others) == len(test)
    assert others.features == other.features


def test_levels_and_columns_that_only_test_rows_have():
    f = frame()
    _, test = load(f, target="y").holdout(seed=0)
    rows = np.flatnonzero(np.isin(f["y"].to_numpy().astype(np.float32), test.y))
    f.loc[rows[0], "word"] = "seen once"
    f["flag"] = 0
    f.loc[rows, "flag"] = 1
    data = load(f, target="y")
    assert "seen once" in data.levels[0]
    assert "flag" in data.features["numeric"]
    rest, test = data.holdout(seed=0)
    assert rest.levels[0] == ("blue", "green", "red")
    assert "flag" not in rest.features["numeric"]
    assert any("'flag' is always 0" in said for said in rest.dropped)
    assert (test.inputs["categorical"][:, 0] == -1).sum() == 1
    assert test.schema() == rest.schema()
    same(rest.subset(np.arange(20)), load(f, target="y").holdout(seed=0)[0].subset(np.arange(20)))


def test_codes_without_a_table_lose_levels_of_test_rows():
    codes = np.tile([0, 2], 20)[:, None]
    data = Dataset("t", "tabular", "regression", {"categorical": codes}, np.arange(40, dtype=np.float32))
    _, test = data.holdout(seed=0)
    strange = codes.copy()
    strange[test.y.astype(int)[0]] = 1
    changed = replace(data, inputs={"categorical": strange}, levels=(("a", "b", "c"),))
    rest, test = changed.holdout(seed=0)
    assert rest.levels == (("a", "c"),)
    assert set(rest.inputs["categorical"].ravel()) == {0, 1}
    assert (test.inputs["categorical"] == -1).sum() == 1


def test_inputs_put_in_place_of_others_are_not_read_again():
    data = load(frame(), target="y")
    doubled = replace(data, inputs={**data.inputs, "numeric": data.inputs["numeric"] * 2})
    assert replace(data, name="other").origin is not None
    assert doubled.origin is None
    rest, _ = doubled.holdout(seed=0)
    assert np.isin(rest.inputs["numeric"][:, 0], doubled.inputs["numeric"][:, 0]).all()


# ------------------------------------------------------------------------------------------------ given parts of rows


def test_given_parts_are_read_as_the_training_rows():
    train, validation, test = frame(60, 0), frame(20, 1), frame(15, 2)
    test["word"] = "unheard of"
    data = load(train, target="y", validation=validation, test=test.iloc[:, ::-1])
    assert [int(part.sum()) for part in (data.given_validation, data.given_test)] == [20, 15]
    same(data.subset(np.arange(60)), replace(load(train, target="y"), **parts_of(data, np.arange(60))))
    for part in data.holdout(seed=0)[0].splits(3, seed=0):
        assert np.array_equal(np.sort(part.validation), np.arange(60, 80))
        assert np.array_equal(np.sort(part.train), np.arange(60))
    rest, held = data.holdout(seed=5)
    assert len(rest) == 80
    assert np.array_equal(held.y, test["y"].to_numpy().astype(np.float32))
    assert (held.inputs["categorical"][:, 0] == -1).all()
    encoded = encode_rows(validation, data.schema())
    np.testing.assert_array_equal(rest.inputs["numeric"][60:], encoded["numeric"])


def parts_of(data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    assert data.given_validation is not None
    assert data.given_test is not None
    return {"given_validation": data.given_validation[rows], "given_test": data.given_test[rows]}


def test_a_drawn_test_part_beside_given_validation_rows():
    data = load(frame(), target="y", validation=frame(20, 1))
    rest, test = data.holdout(seed=0)
    assert (len(rest), len(test)) == (64, 16)
    assert rest.given_validation is not None
    assert 0 < rest.given_validation.sum() < 20


def test_given_parts_as_arrays_files_and_archives(tmp_path):
    X, y = np.arange(60.0).reshape(30, 2), np.tile(["a", "b", "c"], 10)
    data = load((X, y), test=(X[:5] + 1, y[:5]), validation=(X[5:9], y[5:9]))
    rest, test = data.holdout(seed=0)
    assert np.array_equal(test.inputs["numeric"], X[:5] + 1)
    assert rest.splits(1, seed=0)[0].validation.min() == 30
    frame().to_csv(tmp_path / "train.csv", index=False)
    frame(9, 3).to_csv(tmp_path / "test.csv", index=False)
    assert len(load(tmp_path / "train.csv", target="y", test=tmp_path / "test.csv").holdout(seed=0)[1]) == 9
    split = np.repeat([0, 2, 1], 10)
    for given_split in (split, split.astype(float), np.array(["train", "test", "val"])[split]):
        np.savez(tmp_path / "t.npz", X=X, y=y, split=given_split)
        rest, test = load(tmp_path / "t.npz").holdout(seed=0)
        assert np.array_equal(test.inputs["numeric"], X[20:])
        assert np.array_equal(np.sort(rest.splits(1, seed=0)[0].validation), np.arange(10, 20))
    np.savez(
        tmp_path / "t.npz", x_train=X[:10], x_val=X[10:14], x_test=X[14:], y_train=y[:10], y_val=y[10:14], y_test=y[14:]
    )
    rest, test = load(tmp_path / "t.npz").holdout(seed=0)
    assert (len(rest), len(test), len(rest.splits(1, seed=0)[0].validation)) == (14, 16, 4)
    np.savez(tmp_path / "t.npz", X=X, y=y, split=np.full(30, 7))
    assert "0 or train" in error_of(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", X=X, y=y, split=split == 1)
    assert "comes with a test part" in error_of(tmp_path / "t.npz", test=(X, y))


@pytest.mark.parametrize("what", ["validation", "test"])
def test_a_part_without_rows_or_targets_is_refused(what):
    X, y = np.arange(60.0).reshape(30, 2), np.arange(30.0) / 7
    assert f"the {what} rows must be at least one, but there are none" in error_of((X, y), **{what: (X[:0], y[:0])})
    blank = (X[:4], np.full(4, np.nan))
    assert f"{what} rows need a target, but none of 'y' is there" in error_of((X, y), **{what: blank})
    gone = frame(9, 3).assign(y=None)
    assert f"{what} rows need a target, but none of 'y'" in error_of(frame(), target="y", **{what: gone})


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_inputs_count_as_missing_and_are_said_in_every_part(value):
    X, y = np.arange(60.0).reshape(30, 2), np.tile(["cat", "dog", "cow"], 10)
    strange, gap = X.copy(), X.copy()
    strange[3, 1], gap[3, 1] = value, np.nan
    data = load((strange, y), validation=(strange[:6], y[:6]))
    assert data.fingerprint == load((gap, y), validation=(gap[:6], y[:6])).fingerprint
    assert "1 infinite values in X count as missing" in data.dropped
    assert "1 infinite values in the validation rows count as missing" in data.dropped
    test = frame(9, 3)
    test.loc[2, "number"] = value
    assert "1 infinite values in the test rows count as missing" in load(frame(), target="y", test=test).dropped


def test_parts_that_do_not_fit():
    X, y = np.arange(60.0).reshape(30, 2), np.tile(["cat", "dog", "cow"], 10)
    assert "others such as 'cats' in 'y'; did you mean 'cat'" in error_of((X, y), test=(X[:2], ["cat", "cats"]))
    assert "(2,)" in error_of((X, y), test=(X[:, :1], y))
    assert "same rows" in error_of((X, y), test=(X, y[:3]))
    assert "must be numbers" in error_of((X, np.arange(30.0) / 7), test=(X[:2], ["a", "b"]))
    assert "column 'word' is missing; did you mean 'Word'" in error_of(
        frame(), target="y", test=frame().rename(columns={"word": "Word"})
    )
    assert "target column 'y' is not in" in error_of(frame(), target="y", validation=frame().drop(columns="y"))
    assert "must hold numbers, but holds 'old'" in error_of(frame(), target="y", test=frame().assign(number="old"))
    data = load((X, y))
    assert "loaded already; pass test=" in error_of(data, test=(X, y))
    left_out = load((X, y), test=(X[:3], ["cat", "", "dog"]))
    assert len(left_out.holdout(seed=0)[1]) == 2
    assert left_out.dropped[0].startswith("1 of 33 rows")


# --------------------------------------------------------------------------------------------------- weights and groups


def test_weights_by_column_and_by_array():
    f = frame()
    f["w"] = np.arange(60) % 4
    for data in (load(f, target="y", weights="w"), load(f.drop(columns="w"), target="y", weights=f["w"].to_numpy())):
        assert "w" not in data.features["numeric"]
        assert data.weights is not None
        assert np.array_equal(data.weights, f["w"][f["w"] > 0])
        assert np.array_equal(data.y, f["y"][f["w"] > 0].to_numpy().astype(np.float32))
        assert "15 rows of weight 0 are left out" in data.dropped
        assert data.subset(np.arange(3)).weights.tolist() == [1, 2, 3]
        assert data.fingerprint != replace(data, weights=None).fingerprint
    mean, deviation = data.moments()
    assert mean == pytest.approx(np.average(data.y, weights=data.weights))
    assert deviation == pytest.approx(np.std(np.repeat(data.y.astype(float), data.weights.astype(int))))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 59 + [-1.0], "holds -1.0"),
        ([1.0] * 59 + [np.nan], "holds nan"),
        ([1.0] * 59 + [np.inf], "holds inf"),
        (["1"] * 59 + ["much"], "holds 'much'"),
        ([0] * 60, "only zeros"),
        ([1.0] * 3, "one value for each row"),
        ([[1.0], [2.0, 3.0]], "ragged"),
        ("wieght", "did you mean 'weight'"),
    ],
)
def test_weights_that_cannot_be(weights, words):
    assert words in error_of(frame().assign(weight=1.0), target="y", weights=weights)


def test_groups_by_the_number_of_a_column_and_of_any_type():
    import pandas as pd

    f = frame().rename(columns={"word": 7})
    data = load(f, target="y", groups=np.int64(7))
    assert data.groups is not None
    assert len(np.unique(data.groups)) == 3
    for groups in (pd.Categorical(f[7]), pd.array(f[7], dtype="string"), [w.encode() for w in f[7]]):
        assert np.array_equal(load(f.drop(columns=7), target="y", groups=groups).groups, data.groups)
    assert np.array_equal(data.clusters(np.arange(9)), data.groups[:9])
    assert np.array_equal(load(f, target="y").clusters(np.arange(9)), np.arange(9))


# ----------------------------------------------------------------------------------------------------------------- time


@quick
@given(st.lists(st.integers(0, 30), min_size=2, max_size=80), st.floats(0.05, 0.95), st.floats(0.3, 1.0))
def test_validation_rows_are_later(moments, fraction, share):
    time = np.array(moments)
    if len(np.unique(time)) < 2:
        with pytest.raises(DataError, match="two moments"):
            split_by_time(time, fraction, np.random.default_rng(0), share)
        return
    parts = split_by_time(time, fraction, np.random.default_rng(0), share)
    assert len(parts.train) > 0
    assert len(parts.validation) > 0
    assert time[parts.train].max() < time[parts.validation].min()
    used = np.r_[parts.train, parts.validation]
    left = np.setdiff1d(np.arange(len(time)), used)
    assert len(used) == len(np.unique(used))
    assert not len(left) or time[left].min() > time[used].max()


def test_splits_by_time_are_different_windows_and_the_test_rows_are_last():
    order = np.random.default_rng(0).permutation(200)
    data = load((np.arange(400.0).reshape(200, 2), np.arange(200) % 2), time=order)
    assert data.time is not None
    splits = data.splits(6, seed=3)
    assert len({order[part.validation].max() for part in splits}) == 6
    for part in splits:
        assert order[part.train].max() < order[part.validation].min()
        assert len(part.validation) / (len(part.train) + len(part.validation)) == pytest.approx(0.25, abs=0.01)
        assert len(part.train) >= 99
    assert np.array_equal(splits[1].train, data.splits(2, seed=3)[1].train)
    rest, test = data.holdout(seed=0)
    assert (len(test), test.time.min()) == (40, 160)
    assert rest.time.max() < 160


def test_time_by_anything_that_has_an_order():
    import pandas as pd

    f = frame()
    days = pd.date_range("2024-01-01", periods=60)
    for time in (
        "when",
        days,
        days.tz_localize("Europe/Berlin"),
        days.to_period("D"),
        days - days[0],
        days.strftime("%d.%m.%Y"),
        days.to_numpy(),
        list(days.to_pydatetime()),
        np.arange(60) * 0.5,
        [str(i) for i in range(60)],
        pd.array(range(60), dtype="Int64"),
    ):
        data = load(f, target="y", time=time)
        assert np.array_equal(data.time, np.arange(60)), time
        assert "in the order of" in data.dropped[0]
        assert "when.days" in data.features["numeric"]
    assert "such as None" in error_of(f, target="y", time=[*range(59), None])
    assert "such as 'soon'" in error_of(f, target="y", time=[*map(str, range(59)), "soon"])
    assert "not both" in error_of(f, target="y", time="when", groups="word")
    with pytest.raises(DataError, match="two moments"):
        load(f, target="y", time=np.zeros(60)).splits(1, 0)
