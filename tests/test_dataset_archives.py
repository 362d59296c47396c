"""Archives of arrays: what their members mean, headers that lie, real tables where present."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from messy import error_of

from nas.dataset import encode_rows, load

SHARED = Path(__file__).parents[2] / "shared" / "datasets"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real datasets")


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
