"""Reading datasets from frames, files, archives and folders of images: faults people meet, real files where present."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.dataset import encode_rows, load
from nas.errors import DataError

SHARED = Path(__file__).parents[2] / "shared" / "datasets"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real datasets")
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def error_of(*args, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------------------------------------------- frames


def frame(n: int = 80):
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(n) + 100,
            "age": np.where(np.arange(n) % 9 == 0, np.nan, rng.normal(40, 9, n)),
            "sex": rng.choice(["m", "f"], n),
            "when": pd.date_range("2021-03-01", periods=n).strftime("%d.%m.%Y"),
            "at": pd.date_range("2021-03-01", periods=n, freq="7h"),
            "review": [f"a long text about film {i} that nobody will read" for i in range(n)],
            "ticket": [f"T-{i * 7919}" for i in range(n)],
            "constant": 3,
            "empty": [None] * n,
            "alive": np.arange(n) % 3 == 0,
            "price": [str(i / 4) if i != 5 else "n.a." for i in range(n)],
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l"]),
            "ratio": np.where(np.arange(n) == 7, np.inf, rng.normal(size=n)),
            "label": rng.choice(["yes", "no"], n),
        }
    )


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


# ----------------------------------------------------------------------------------------------------------- files


def test_csv_parquet_and_frame_agree(tmp_path):
    f = frame()
    f.to_csv(tmp_path / "t.csv", index=False)
    f.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    one = load(f.assign(size=f["size"].astype(str)), target="label")
    for name in ("t.csv", "u.csv.gz"):
        data = load(tmp_path / name, target="label")
        assert data.features == one.features
        assert np.allclose(data.inputs["numeric"], one.inputs["numeric"], equal_nan=True)
        assert np.array_equal(data.inputs["categorical"], one.inputs["categorical"])
        encoded = encode_rows(tmp_path / name, data.schema())
        np.testing.assert_array_equal(encoded["numeric"], data.inputs["numeric"])
    assert load(tmp_path / "t.parquet", target="label").fingerprint == load(f, target="label").fingerprint
    assert load(str(tmp_path / "t.csv"), target="label").name == "t"


def test_csv_dialects(tmp_path):
    path = tmp_path / "t.csv"
    expected = np.array([[1.5, 2], [-2.25, np.nan], [3.5, 4]], np.float32)
    for text in (
        "a,b,y\n1.5,2,u\n-2.25,?,v\n3.5,4,u\n",
        "\ufeffa;b;y\r\n1,5;2;u\r\n-2,25;;v\r\n3,5;4;u\r\n",
        '"a"\t"b"\t"y"\n1.5\t2\t"u"\n-2.25\tNA\t"v"\n3.5\t4\t"u"\n\n',
        "a, b, y\n1.5, 2, u\n-2.25, -, v\n3.5, 4, u",
    ):
        path.write_text(text, encoding="utf-8")
        data = load(path, target="y")
        assert data.classes == ("u", "v")
        np.testing.assert_array_equal(data.inputs["numeric"], expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,y\n", "two rows"),
        (b"a,y\n1,0\n", "two rows"),
        (b"a,y\n1,0\n2,1,5\n3,0\n", "line 3 of t.csv has 3"),
        (b"a,b,y\n1,2,0\n2,1\n3,4,0\n", "line 3 of t.csv has 2"),
        (b"a,y\n1,caf\xe9\x81\n2,b\n", "byte 0xe9"),
        (b"a,y\n1,\x002\n2,b\n", "byte 6 is 0"),
        ("a,y\n1,2\n".encode("utf-16-le"), "is 0, as in binary files or in UTF-16"),
        (b"5.1,3.5,0\n4.9,3.0,0\n4.7,3.2,1\n", "add a line of names"),
        (b"a:y\n1:0\n2:1\n", "read as one column"),
        (b'a,y\n1,"' + b"x" * 200_000 + b'"\n', "at most 131,072 characters"),
        (b"a,a,y\n1,2,0\n2,3,1\n", "'a' twice"),
        (b"a,Y\n1,0\n2,1\n", "did you mean 'Y'"),
        (b'a,y\n"1,0\n2,1\n', "line"),
    ],
)
def test_csv_faults(tmp_path, content, words):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert words in error_of(path, target="y")


def test_what_is_guessed_of_a_text_is_said(tmp_path):
    path = tmp_path / "t.csv"
    text = "größe;Straße;wann;y\n1,5;Königsallee;01.02.2024;0\n2,25;Ring;11.02.2024;1\n" + "3,5;Ring;12.03.2024;1\n" * 4
    for encoding, words in (
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("cp1252", "t.csv is not UTF-8 (byte 0xf6 at about 2): read as Windows-1252"),
        ("utf-16", "t.csv is read as UTF-16"),
        ("utf-32", "t.csv is read as UTF-32"),
    ):
        path.write_bytes(text.encode(encoding))
        data = load(path, target="y")
        assert data.features == {
            "numeric": ("größe", "wann.month", "wann.weekday", "wann.days"),
            "categorical": ("Straße",),
        }
        np.testing.assert_array_equal(data.inputs["numeric"][:3, 0], np.array([1.5, 2.25, 3.5], np.float32))
        assert data.levels == (("Königsallee", "Ring"),)
        said = "; ".join(data.dropped)
        assert "t.csv is read with cells separated by ';' and a comma as the decimal sign" in said
        assert words in said
        np.testing.assert_array_equal(encode_rows(path, data.schema())["numeric"], data.inputs["numeric"])
    for separator, name in (("\t", "tabs"), ("|", "'|'"), ("  ", "spaces")):
        path.write_text(f"a{separator}y\n" + "".join(f"{i}.5{separator}{i % 2}\n" for i in range(9)))
        data = load(path, target="y")
        assert np.array_equal(data.inputs["numeric"].ravel(), np.arange(9) + 0.5)
        assert f"separated by {name}" in data.dropped[0]


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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_line_of_gigabytes_ends_in_a_sentence(tmp_path):
    import subprocess
    import sys

    zeros, ones = tmp_path / "zeros.csv", tmp_path / "ones.csv"
    with zeros.open("wb") as stream:
        stream.write(b"a,y\n1,0\n2,")
        stream.truncate(2**31)  # sparse: takes no place
    ones.write_bytes(b"a,y\n1,0\n2," + b"1" * 2**26)
    program = (
        "import re, sys; from pathlib import Path; from nas.dataset import load; from nas.errors import DataError\n"
        "for path, words in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try: load(path, target='y')\n"
        "    except DataError as error: assert words in str(error), error\n"
        "    else: raise SystemExit('read')\n"
        "print(re.search(r'VmHWM:\\s*([0-9]+)', Path('/proc/self/status').read_text())[1])"  # of this process alone
    )
    words = [str(zeros), "is 0, as in binary", str(ones), "line 3 of ones.csv has more"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 2**29


def test_files_that_unpack_to_many_times_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.dataset.text.LARGE", 2**20)
    monkeypatch.setattr("nas.dataset.archive.LARGE", 2**20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"1" * 2**22))
    assert "200 times its size" in error_of(path, target="y")
    np.savez_compressed(tmp_path / "t.npz", X=np.zeros((2**20, 1)), y=np.arange(2**20) % 2)
    assert "200 times its size (X.npy)" in error_of(tmp_path / "t.npz")


def test_archives_whose_headers_lie(tmp_path):
    import zipfile

    path = tmp_path / "t.npz"
    for shape, words in (
        ((10**15,), "promises 8,000,000,000,000,000 bytes"),
        ((-1,), "cannot be read"),
        ("x", "cannot"),
    ):
        with zipfile.ZipFile(path, "w") as archive, archive.open("X.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"shape": shape, "fortran_order": False, "descr": "<f8"})
            member.write(bytes(800))
        assert words in error_of(path)
    np.savez(path, X=np.array([{"a": 1}, None], dtype=object), y=np.arange(2))
    assert "object arrays are refused" in error_of(path)


def test_category_codes_of_an_archive(tmp_path):
    path, y = tmp_path / "t.npz", np.arange(6) % 2
    np.savez(path, X_cat=np.array([[0.0], [1], [np.nan], [2], [1], [0]]), y=y, cat_cardinalities=["a"])
    data = load(path)
    assert data.inputs["categorical"].ravel().tolist() == [0, 1, -1, 2, 1, 0]
    assert data.levels == (("0", "1", "2"),)
    for change in ({"X_cat": np.array([[0], [2**40]] * 3)}, {"X_cat": y[:, None], "cat_cardinalities": [2**60]}):
        np.savez(path, y=y, **change)
        assert "must be below 1,048,576" in error_of(path)


def test_large_tables_are_refused_before_they_are_read(tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.setattr("nas.dataset.files.MAX_CELLS", 100)
    frame().to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"a": np.zeros(101), "y": 0}).to_parquet(tmp_path / "t.parquet")
    assert "a table may have 100 cells, but t.csv has more" in error_of(tmp_path / "t.csv", target="label")
    assert "t.parquet has 202" in error_of(tmp_path / "t.parquet", target="y")


def test_places_that_are_no_files(tmp_path):
    import os

    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    assert "one subfolder for each class" in error_of(tmp_path / "folder.csv", target="y")
    assert "must be a file" in error_of(tmp_path / "pipe.csv", target="y")
    os.mkfifo(tmp_path / "pipe.npz")
    assert "must be a file" in error_of(tmp_path / "pipe.npz")
    frame().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-100])
    assert "must be a Parquet file" in error_of(tmp_path / "t.parquet", target="label")


def test_many_columns_are_compared_in_one_pass(tmp_path):
    names = ",".join(f"c{i}" for i in range(20_000))
    (tmp_path / "t.csv").write_text(f"{names},c7\n")
    assert "'c7' twice" in error_of(tmp_path / "t.csv", target="y")


def test_unknown_files(tmp_path):
    (tmp_path / "data.csv").write_text("a,y\n1,0\n")
    assert "data.csv" in error_of(tmp_path / "dota.csv", target="y")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    assert "must end in" in error_of(tmp_path / "t.xlsx", target="y")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.npz", "t.parquet", "t.csv.gz"]))
def test_foreign_bytes_end_in_one_sentence(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError):
        load(path, target="y")


@quick
@given(st.text(alphabet='ab,;\t\n"1.0-? é', max_size=60))
def test_any_text_is_a_dataset_or_one_sentence(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,0\n2,1\n3,0\n" + text, encoding="utf-8")
    try:
        data = load(path, target="y")
    except DataError:
        return
    assert len(data) >= 2


# -------------------------------------------------------------------------------------------------------- archives


def test_archives(tmp_path):
    path = tmp_path / "t.npz"
    rng = np.random.default_rng(0)
    X, codes, y = rng.normal(size=(20, 2)).astype(np.float32), rng.integers(-1, 3, size=(20, 2)), np.arange(20) % 2
    np.savez(
        path,
        X_num=X,
        X_cat=codes.astype(np.int16),
        cat_cardinalities=[3, 3],
        cat_names=["a", "b"],
        cat_levels=json.dumps({"a": ["x", "y", "z"]}),
        y=y,
        task="classification",
        class_names=["no", "yes"],
        split=np.arange(20) >= 15,
        meta=json.dumps({"name": "mine", "family": "ours"}),
    )
    data = load(path)
    assert (data.name, data.family, data.classes) == ("mine", "ours", ("no", "yes"))
    assert data.levels == (("x", "y", "z"), ("0", "1", "2"))
    assert np.array_equal(data.inputs["categorical"], codes)
    assert [len(part) for part in data.holdout(seed=0)] == [15, 5]
    assert np.array_equal(encode_rows(path, data.schema())["numeric"], X)
    np.savez(path, X=X, y=y, other=rng.normal(size=20))
    assert load(path).fingerprint == load((X, y)).fingerprint
    assert load(path, target="other").task == "regression"
    assert "did you mean 'other'" in error_of(path, target="othr")
    np.savez(path, x_train=X[:12], x_test=X[12:], y_train=y[:12], y_test=y[12:])
    assert [len(part) for part in load(path).holdout(seed=0)] == [12, 8]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": np.array([{}, 1], dtype=object), "y": [0, 1]}, "object arrays are refused"),
        ({"Z": np.zeros((2, 2)), "y": [0, 1]}, "holds Z, y"),
        ({"X": np.zeros((2, 2))}, "target 'y' is not in"),
        ({"X_num": np.zeros((4, 2)), "X_cat": np.zeros((3, 1)), "y": [0, 1, 0, 1]}, "same rows"),
        ({"X_cat": np.full((4, 1), -7), "y": [0, 1, 0, 1]}, "-7"),
        ({"X_num": np.zeros(4), "y": [0, 1, 0, 1]}, "[rows, columns]"),
        ({"X": np.zeros((4, 2)), "y": [0, 1, 0, 1], "split": [1]}, "split must have"),
        ({"data": np.zeros(9, np.uint8), "off": [0, 4, 9], "y": [0, 1]}, "image 0"),
        ({"data": np.zeros(9, np.uint8), "off": [0, 9, 4], "y": [0, 1]}, "increasing offsets"),
    ],
)
def test_archive_faults(tmp_path, arrays, words):
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    assert words in error_of(path)


# ---------------------------------------------------------------------------------------------------------- images


def test_image_arrays():
    rng = np.random.default_rng(0)
    images, y = rng.integers(256, size=(6, 8, 9, 3), dtype=np.uint8), [0, 1] * 3
    data = load((images, y))
    assert data.kind == "image"
    for same in (
        images.transpose(0, 3, 1, 2),
        images / 255.0,
        images.astype(np.int64),
        (images / 255.0).astype(np.float32),
    ):
        assert load((same, y)).fingerprint == data.fingerprint
    assert load((images[..., 0], y)).inputs["image"].shape == (6, 8, 9, 1)
    assert "[0, 1]" in error_of((images.astype(float), y))
    assert "0 to 255" in error_of((images.astype(int) + 1, y))
    encoded = encode_rows(images[0], data.schema())
    assert np.array_equal(encoded["image"][0], images[0])
    with pytest.raises(DataError, match="shape"):
        encode_rows(images[:, :5], data.schema())


def write_images(folder, classes=("cat", "dog"), sizes=((6, 5),), mode="RGB", count=3):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            height, width = sizes[i % len(sizes)]
            shape = (height, width, 3) if mode == "RGB" else (height, width)
            Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(folder / name / f"{i}.png")


def test_image_folders(tmp_path):
    from PIL import Image

    write_images(tmp_path / "a")
    data = load(tmp_path / "a")
    assert data.describe() == "6 images 6 x 5 x 3, 2 classes"
    assert data.classes == ("cat", "dog")
    assert np.array_equal(data.inputs["image"][1], np.asarray(Image.open(tmp_path / "a" / "cat" / "1.png")))
    encoded = encode_rows(tmp_path / "a" / "cat" / "1.png", data.schema())
    assert np.array_equal(encoded["image"][0], data.inputs["image"][1])
    write_images(tmp_path / "grey", mode="L", sizes=((6, 5), (7, 9), (7, 9)))
    (tmp_path / "grey" / "cat" / "notes.txt").write_text("x")
    grey = load(tmp_path / "grey")
    assert grey.describe() == "6 images 7 x 9 grey, 2 classes"
    assert "2 of 6 images were resized to 7 x 9" in grey.dropped[0]
    assert "1 files" in grey.dropped[1]
    assert len(encode_rows(tmp_path / "grey", grey.schema())["image"]) == 6


def test_image_folders_with_a_given_test_part(tmp_path):
    write_images(tmp_path / "train")
    write_images(tmp_path / "test", count=2)
    data = load(tmp_path)
    assert [len(part) for part in data.holdout(seed=0)] == [6, 4]


def test_large_and_turned_images(tmp_path):
    from PIL import Image

    write_images(tmp_path, sizes=((448, 300),), count=2)
    image = Image.new("RGB", (448, 300))
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter: shown 448 high, 300 wide
    image.save(tmp_path / "cat" / "x.jpg", exif=exif)
    data = load(tmp_path)
    assert data.inputs["image"].shape[1:] == (224, 150, 3)
    assert "5 of 5 images were resized to 224 x 150" in data.dropped[0]


def test_deep_grey_and_transparent_images(tmp_path):
    from PIL import Image

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ramp = np.linspace(0, 65535, 16).reshape(4, 4).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a" / "deep.png")
    Image.fromarray(ramp[::-1]).save(tmp_path / "a" / "deep2.png")
    Image.new("L", (4, 4), 9).save(tmp_path / "b" / "flat.png")
    data = load(tmp_path)
    assert np.array_equal(data.inputs["image"][0, ..., 0], np.rint(ramp / 257.0))
    Image.new("RGBA", (4, 4), (1, 2, 3, 128)).save(tmp_path / "b" / "clear.png")
    assert load(tmp_path).inputs["image"].shape == (4, 4, 4, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_images_of_every_mode_show_the_same(tmp_path, mode):
    from PIL import Image

    pixels = np.zeros((6, 6), dtype=np.uint8)
    pixels[:, 3:] = 255  # left half black, right half white
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(pixels.astype(np.float32) / 255.0)
    else:
        image = image.convert("RGB").convert(mode) if mode not in ("I", "1") else image.convert(mode)
    assert image.mode == mode
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            image.save(tmp_path / name / f"{i}.tif" if mode not in ("P", "1") else tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    coloured = mode in ("RGB", "RGBA", "CMYK", "YCbCr")
    assert data.inputs["image"].shape == (4, 6, 6, 3 if coloured else 1)
    np.testing.assert_allclose(data.inputs["image"][0, ..., 0].astype(int), pixels, atol=2)
    assert data.dropped == ()
    opened = load(([image] * 4, [0, 1] * 2))
    np.testing.assert_array_equal(opened.inputs["image"], data.inputs["image"])


def test_transparent_images_are_laid_on_white_and_grey_ones_read_in_colour(tmp_path):
    from PIL import Image

    write_images(tmp_path, classes=("a", "b"), count=2)
    drawn = Image.new("RGBA", (5, 6), (0, 0, 0, 0))  # black all over, which only its transparency tells
    drawn.putpixel((1, 2), (0, 0, 0, 255))
    drawn.save(tmp_path / "a" / "drawn.png")
    drawn.convert("P").save(tmp_path / "a" / "palette.gif", transparency=0)
    Image.new("L", (5, 6), 9).save(tmp_path / "b" / "grey.png")
    data = load(tmp_path)
    found = data.inputs["image"][2]
    assert (found == 255).sum() == 3 * 29
    assert found[2, 1].tolist() == [0, 0, 0]
    assert data.dropped == (
        "2 of 7 images are grey and read in colour like the others",
        "2 of 7 images have transparent parts and were laid on white",
    )
    assert np.array_equal(encode_rows(tmp_path / "a" / "drawn.png", data.schema())["image"][0], found)


def test_images_of_several_sizes_in_a_list(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    sizes = [(8, 6), (8, 6), (8, 6), (16, 12), (5, 5, 3)]
    arrays = [rng.integers(256, size=size, dtype=np.uint8) for size in sizes]
    data = load((arrays, [0, 1, 0, 1, 1]))
    assert data.describe() == "5 images 8 x 6 x 3, 2 classes"
    assert "2 of 5 images were resized to 8 x 6 (height x width; they had 5 to 16 x 5 to 12)" in data.dropped
    assert np.array_equal(data.inputs["image"][0, ..., 0], arrays[0])
    whole = arrays[3].reshape(8, 2, 6, 2).mean(axis=(1, 3))
    assert np.abs(data.inputs["image"][3, ..., 0].astype(float) - whole).mean() < 25  # shrunk with its neighbours
    objects = np.empty(5, dtype=object)
    objects[:] = arrays
    assert load((objects, [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert load(([array / 255.0 for array in arrays], [0, 1, 0, 1, 1]), kind="image").fingerprint == data.fingerprint
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    assert load((paths, [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert load((np.array(list(map(str, paths))), [0, 1, 0, 1, 1])).fingerprint == data.fingerprint
    assert np.array_equal(encode_rows(arrays, data.schema())["image"], data.inputs["image"])
    spread = [np.full((side, side), 9, dtype=np.uint8) for side in (4, 20, 30, 40, 50)]
    assert load((spread, [0, 1, 0, 1, 1])).inputs["image"].shape == (5, 30, 30, 1)  # no common size: the median
    for wrong, words in (
        (([arrays[0], np.zeros((0, 4), np.uint8), arrays[1]], [0, 1, 0]), "image 1 of X cannot be read"),
        (([tmp_path / "0.png", tmp_path / "none.png"], [0, 1]), "no file is named"),
    ):
        assert words in error_of(wrong)


def test_a_turned_image_is_turned_back_wherever_it_is_read(tmp_path):
    from PIL import Image

    upright = np.zeros((6, 4), dtype=np.uint8)
    upright[0] = 255  # a white line at the top
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    for files in (
        [tmp_path / "turned.png", tmp_path / "upright.png"],
        [Image.open(tmp_path / "turned.png"), Image.open(tmp_path / "upright.png")],
    ):
        data = load((files, [0, 1]))
        assert np.array_equal(data.inputs["image"][0], data.inputs["image"][1])
        assert np.array_equal(data.inputs["image"][0, ..., 0], upright)


def test_image_faults(tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "one subfolder for each class" in error_of(tmp_path / "nothing")
    write_images(tmp_path / "bad")
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(b"")
    assert "the file is empty" in error_of(tmp_path / "bad")
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(b"not an image at all")
    assert "1.png" in error_of(tmp_path / "bad")
    whole = (tmp_path / "bad" / "dog" / "0.png").read_bytes()
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    assert "1.png" in error_of(tmp_path / "bad")
    new = load(write_images(tmp_path / "good") or tmp_path / "good")
    with pytest.raises(DataError, match=r"an image must be readable, but .*1\.png"):
        encode_rows(tmp_path / "bad", new.schema())
    assert "is the name of its folder" in error_of(tmp_path / "good", target="animal")
    write_images(tmp_path / "one", classes=("cat",))
    assert "always 'cat'" in error_of(tmp_path / "one")


# ------------------------------------------------------------------------------------------------------ real files


@needs_shared
@pytest.mark.parametrize("name", ["adult", "audiology", "hotel_rates", "auto_mpg"])
def test_real_tables_keep_their_numbers(name):
    path = SHARED / "tabular" / f"{name}.npz"
    data, raw = load(path), np.load(path, allow_pickle=False)
    assert len(data) == len(raw["y"])
    assert np.array_equal(data.y, raw["y"])
    if raw["X_num"].shape[1]:
        np.testing.assert_array_equal(data.inputs["numeric"], raw["X_num"])
    if raw["X_cat"].shape[1]:
        np.testing.assert_array_equal(data.inputs["categorical"], raw["X_cat"])
    assert data.task == str(raw["task"])
    assert data.dropped == ()
    again = encode_rows(path, json.loads(json.dumps(data.schema())))
    assert all(np.array_equal(again[key], data.inputs[key], equal_nan=True) for key in data.inputs)


@needs_shared
def test_real_images_and_their_given_split():
    data = load(SHARED / "images" / "sign_digits.npz")
    assert data.describe() == "2,062 images 32 x 32 x 3, 10 classes"
    rest, test = data.holdout(seed=0)
    assert (len(rest), len(test)) == (1651, 411)


@needs_shared
def test_encoded_images_are_decoded(tmp_path):
    import io

    from PIL import Image

    with np.load(SHARED / "images" / "cifar10_full_jpeg.npz", allow_pickle=False) as raw:
        data, offsets, y = raw["data"], raw["off"], raw["y"]
    keep = np.r_[:3, 40000:40003]
    parts = [data[offsets[i] : offsets[i + 1]] for i in keep]
    bounds = np.cumsum([0, *map(len, parts)])
    np.savez(tmp_path / "few.npz", data=np.concatenate(parts), off=bounds, y=np.array([0, 0, 0, 1, 1, 1]))
    few = load(tmp_path / "few.npz")
    assert few.inputs["image"].shape == (6, 32, 32, 3)
    assert np.array_equal(few.inputs["image"][4], np.asarray(Image.open(io.BytesIO(parts[4].tobytes()))))
    assert len(offsets) == len(y) + 1


def test_arrays_and_archives_need_neither_pandas_nor_scikit_learn(tmp_path):
    import subprocess
    import sys

    np.savez(tmp_path / "t.npz", X=np.arange(40.0).reshape(20, 2), y=np.arange(20) % 2)
    program = (
        "import sys, numpy as np\n"
        "for name in ('pandas', 'sklearn', 'PIL', 'torch', 'optuna', 'pyarrow'): sys.modules[name] = None\n"
        f"from nas.dataset import load; data = load({str(tmp_path / 't.npz')!r}); data.splits(2, 0); data.fingerprint\n"
        "load((np.arange(40.0).reshape(20, 2), ['a', 'b'] * 10)).holdout(0)\n"
        "load((np.zeros((4, 8, 8), np.uint8), [0, 1] * 2)).describe()\n"
        "import nas.metrics, nas.metafeatures, nas.baselines"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_columns_of_every_pandas_type():
    import pandas as pd

    rng = np.random.default_rng(0)
    plain = pd.DataFrame(
        {
            "whole": pd.array(rng.integers(3, size=50), dtype="Int64"),
            "truth": pd.array(rng.random(50) < 0.5, dtype="boolean"),
            "text": pd.array(rng.choice(["x", "y"], 50), dtype="string"),
            "code": pd.Categorical(rng.integers(3, size=50)),
            "span": pd.to_timedelta(rng.integers(1, 9, 50), unit="h"),
            "zoned": pd.date_range("2020", periods=50, tz="Europe/Berlin"),
            "y": rng.integers(2, size=50),
        }
    )
    plain.loc[3, ["whole", "truth", "text", "code"]] = None
    datasets = [load(kind, target="y") for kind in (plain, plain.convert_dtypes(dtype_backend="pyarrow"))]
    assert datasets[0].fingerprint == datasets[1].fingerprint
    assert datasets[0].levels == (("x", "y"), ("0", "1", "2"))
    assert np.isnan(datasets[0].inputs["numeric"][3, :2]).all()
    span = datasets[0].features["numeric"].index("span")
    assert np.allclose(datasets[0].inputs["numeric"][:, span], plain["span"].dt.total_seconds() / 86400)
