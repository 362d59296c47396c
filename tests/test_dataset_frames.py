"""Frames as people bring them: what each column is taken for is said, and new rows are read the same way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from messy import error_of, frame

from nas.dataset import encode_rows, load
from nas.errors import DataError


def test_columns_are_recognised_and_every_decision_is_said():
    data = load(frame(), target="label")
    dates = ("when.month", "when.weekday", "when.days", "at.weekday", "at.hour", "at.days")
    assert data.features["numeric"] == ("age", *dates, "alive", "price", "ratio")
    assert data.features["categorical"] == ("sex", "size")
    assert data.levels == (("f", "m"), ("s", "m", "l"))
    assert data.target == "label"
    said = dict(sentence.split("'")[1:3] for sentence in data.dropped)
    assert set(said) == {"id", "when", "at", "review", "ticket", "constant", "empty", "price", "ratio"}
    for name, words in {
        "id": "numbers the rows",
        "when": "%d.%m.%Y",
        "review": "free text",
        "ticket": "like an id",
        "constant": "always 3",
        "empty": "is empty",
        "price": "1 entries such as",
        "ratio": "1 infinite",
    }.items():
        assert words in said[name]


def test_dates_become_the_numbers_they_mean():
    data = load(frame(), target="label")
    column = dict(zip(data.features["numeric"], data.inputs["numeric"].T, strict=True))
    days = (np.arange(80) + np.datetime64("2021-03-01")).astype("datetime64[D]")
    assert np.array_equal(column["when.days"], days.astype(int))
    assert np.array_equal(column["when.month"], [d.astype(object).month for d in days])
    assert np.array_equal(column["when.weekday"], [d.astype(object).weekday() for d in days])
    assert np.allclose(column["at.hour"], np.arange(80) * 7 % 24)


def test_day_first_dates_are_told_from_month_first():
    import pandas as pd

    when = pd.Series(pd.date_range("2020-01-01", periods=60))
    for form in ("%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S", "%d %b %Y", "%m/%d/%Y %H:%M"):
        data = load(pd.DataFrame({"d": when.dt.strftime(form), "y": [0, 1] * 30}), target="y")
        days = data.inputs["numeric"][:, data.features["numeric"].index("d.days")]
        assert np.array_equal(np.diff(days), np.ones(59)), form


def test_new_rows_read_the_same_through_json():
    data, rows = load(frame(), target="label"), frame()
    schema = json.loads(json.dumps(data.schema()))
    shuffled = rows.drop(columns=["label", "id", "review"]).iloc[:, ::-1]
    for given_rows in (rows, shuffled):
        encoded = encode_rows(given_rows, schema)
        for key, array in data.inputs.items():
            np.testing.assert_array_equal(encoded[key], array)
            assert encoded[key].dtype == array.dtype
    one = encode_rows(rows.iloc[3:4].assign(sex="unheard of", size=None), schema)
    assert one["categorical"].tolist() == [[-1, -1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.rename(columns={"age": "Age"}), "column 'age' is missing; did you mean 'Age'"),
        (lambda f: f.drop(columns="when"), "column 'when' is missing"),
        (lambda f: f.drop(columns="sex"), "column 'sex' is missing"),
        (lambda f: f.assign(age="old"), "must hold numbers, but holds 'old'"),
        (lambda f: f.assign(when="yesterday"), "must hold dates (%d.%m.%Y), but holds 'yesterday'"),
        (lambda f: f.to_numpy()[:, :3], "pass a DataFrame"),
        (lambda f: np.zeros(3), "reshape(1, -1)"),
        (lambda f: {"numeric": np.zeros((2, 3))}, "shape"),
        (lambda f: "no_such.csv", "no file"),
    ],
)
def test_new_rows_that_do_not_fit(change, words):
    schema = load(frame(), target="label").schema()
    with pytest.raises(DataError) as caught:
        encode_rows(change(frame()), schema)
    assert words in str(caught.value)


def test_new_rows_as_arrays_and_mappings():
    data = load("iris")
    schema = data.schema()
    X = data.inputs["numeric"].astype(np.float64)
    np.testing.assert_array_equal(encode_rows(X, schema)["numeric"], data.inputs["numeric"])
    np.testing.assert_array_equal(encode_rows({"numeric": X}, schema)["numeric"], data.inputs["numeric"])
    assert np.isnan(encode_rows(X * np.inf, schema)["numeric"]).all()
    with pytest.raises(DataError, match="sepal"):
        encode_rows(X[:, :3], schema)
    with pytest.raises(DataError, match="version"):
        encode_rows(X, schema | {"schema": 99})
    coded = load((frame()[["sex", "age"]], np.arange(80) % 2))
    inputs = encode_rows({"numeric": np.ones((2, 1)), "categorical": [[1], [9]]}, coded.schema())
    assert inputs["categorical"].tolist() == [[1], [-1]]


def test_rare_levels_beyond_the_limit_are_unknown():
    import pandas as pd

    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(300) for _ in range(3)] + ["w7"] * 20
    rng.shuffle(words)
    data = load(pd.DataFrame({"w": words, "y": np.arange(len(words)) % 2}), target="y")
    assert len(data.levels[0]) == 255
    assert "w7" in data.levels[0]
    assert "45 of 300 levels" in data.dropped[0]


def test_frames_that_cannot_be_learned():
    import pandas as pd

    f = frame()
    assert "did you mean 'label'" in error_of(f, target="lable")
    assert "Columns: id, age" in error_of(f, target="lable")
    assert "target must name the column of the table to predict" in error_of(f)
    assert "none is left" in error_of(f[["constant", "empty", "label"]], target="label")
    assert "occurs 2 times" in error_of(pd.DataFrame([[1, 2, 0], [3, 4, 1]], columns=["a", "a", "y"]), target="y")
    assert "holds a list" in error_of(pd.DataFrame({"a": [[1], [2]], "y": [0, 1]}), target="y")
    assert "two rows" in error_of(f[:1], target="label")
    assert "two rows" in error_of(f[:0], target="label")
    assert "groups column 'patient' is not there" in error_of(f, target="label", groups="patient")
    assert "no gaps" in error_of(f, target="label", groups=[None] * 80)


def test_groups_by_column_leave_the_inputs():
    f = frame().assign(patient=np.repeat([f"p{i}" for i in range(8)], 10))
    data = load(f, target="label", groups="patient")
    assert "patient" not in data.features["categorical"]
    for part in data.splits(3, seed=0):
        assert data.groups is not None
        assert not set(data.groups[part.train]) & set(data.groups[part.validation])


def test_numbers_with_thousands_currencies_and_percents():
    import pandas as pd

    for texts, words in (
        (["$1,234.50", "$ 2.00", "$-3"], "'$1,234.50' as 1234.5"),
        (["1.234,50 €", "2", "-3"], "'1.234,50 €' as 1234.5"),
        (["1 234.5", "2 %", "-3"], "'1 234.5' as 1234.5"),
    ):
        data = load(pd.DataFrame({"a": texts * 5, "y": [0, 1, 0] * 5}), target="y")
        assert np.array_equal(data.inputs["numeric"][:3, 0], np.array([1234.5, 2, -3], np.float32))
        assert words in data.dropped[0]
        assert encode_rows(pd.DataFrame({"a": texts[:1]}), data.schema())["numeric"][0, 0] == 1234.5


def test_numbers_among_which_text_stands_are_said():
    import pandas as pd

    data = load(pd.DataFrame({"a": ["1", "2", "3", "old", "4"] * 8, "y": [0, 1] * 20}), target="y")
    assert data.features == {"categorical": ("a",)}
    assert "only 80 % of the values of 'a' are numbers (not 'old')" in data.dropped[0]
