"""Tables of every kind people bring: types of columns, other libraries, sparse matrices, rare and many classes."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from messy import error_of

import nas
from nas.baselines import evaluate
from nas.dataset import Dataset, encode_rows, load
from nas.errors import DataError
from nas.metafeatures import metafeatures
from nas.metrics import metrics
from nas.record import Fidelity


def read_again(data: Dataset, rows: object) -> None:
    """New rows read as the training rows were."""
    for key, array in encode_rows(rows, data.schema()).items():
        np.testing.assert_array_equal(array, data.inputs[key])


# ------------------------------------------------------------------------------------------------------------ any cell

CELLS = [
    *(None, float("nan"), float("inf"), 0, 1, -1, 2**64, 10**400, 1e308, 5e-324, 1.5, True, False),
    *("", " ", "a", "b", "NA", "1", "1.5", "1,234", "$5", "true", "1e400", "x" * 500, "é", "\x00", "10:30", "1_000"),
    *("2024-01-01", "2024-13-45", "31.12.2023", "12-2020", b"bytes", b"\xff"),
    *(np.float32(1.5), np.int64(7), np.bool_(True), decimal.Decimal("1.5"), decimal.Decimal("NaN")),
    *(datetime.date(2020, 1, 1), datetime.datetime(9999, 1, 1), np.datetime64("2020"), np.timedelta64(1, "D")),
    *([1], {}, (1, 2), 1j, datetime.time(3)),
]
TYPES = [None, object, "string", "category", "Int64", "float", "boolean", "datetime64[ns]"]


@settings(max_examples=80, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, len(CELLS) - 1), min_size=1, max_size=3),
            st.sampled_from(TYPES),
            st.integers(0, 2**31),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(4, 25),
    st.sampled_from([{}, {"weights": "c0"}, {"time": "c0"}, {"groups": "c0"}, {"task": "regression"}]),
)
def test_any_frame_is_a_dataset_that_reads_again_the_same_or_one_sentence(columns, n, options):
    import pandas as pd

    frame = pd.DataFrame({"y": np.arange(n) % 2})
    for index, (cells, dtype, seed) in enumerate(columns):
        picked = np.random.default_rng(seed).integers(len(cells), size=n)
        column = pd.Series([CELLS[cells[i]] for i in picked], dtype=object)
        try:
            frame[f"c{index}"] = column.astype(dtype) if dtype is not None else column.infer_objects()
        except (ValueError, TypeError, OverflowError, Warning):  # pandas makes no such column, or will not
            frame[f"c{index}"] = column
    try:
        data = load(frame, target="y", **options)
        rest, test = data.holdout(seed=0)
    except DataError as error:
        message = str(error)
        rest = test = None
    if rest is None or test is None:
        assert "\n" not in message
        return
    assert len(rest) + len(test) == len(data)
    if len(data) == n:
        read_again(data, frame)


# ------------------------------------------------------------------------------------------------------ other libraries


def test_tables_of_pyarrow_and_whatever_streams_arrow():
    import pandas as pd
    import pyarrow

    frame = pd.DataFrame({"a": np.arange(30.0), "w": list("xyz") * 10, "y": [0, 1] * 15})
    arrow = pyarrow.table(frame)

    class Streams:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return arrow.__arrow_c_stream__(requested_schema)

    expected = load(frame, target="y")
    for table in (arrow, Streams()):
        assert load(table, target="y").fingerprint == expected.fingerprint
        assert load((table, frame["y"]), groups=np.arange(30)).groups is not None
        read_again(expected, table)
    assert load((frame[["a", "w"]], arrow["y"])).fingerprint == expected.fingerprint


def test_tables_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": np.arange(30.0), "w": list("xyz") * 10, "y": [0, 1] * 15})
    data = load(frame, target="y")
    assert data.fingerprint == load(frame.to_pandas(), target="y").fingerprint
    assert load((frame.drop("y"), frame["y"])).fingerprint == data.fingerprint
    read_again(data, frame)


def test_sparse_matrices_of_every_format():
    from scipy import sparse

    X = sparse.random(40, 6, density=0.3, random_state=0)
    y = np.arange(40) % 2
    expected = load((X.toarray(), y))
    for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia"):
        data = load((X.asformat(form), y))
        assert data.fingerprint == expected.fingerprint
        read_again(data, X.asformat(form))
    assert load((sparse.csr_array(X), y)).fingerprint == expected.fingerprint
    assert load((X.astype(bool), y)).inputs["numeric"].max() == 1
    huge = sparse.csr_matrix((10**6, 10**6), dtype=np.float32)
    assert "1000000 x 1000000 would take 3,725.3 GiB" in error_of((huge, np.arange(10**6) % 2))
    assert "sparse complex" in error_of((X.astype(complex), y))


def test_sparse_columns_of_a_frame():
    import pandas as pd

    dense = pd.DataFrame({"a": np.arange(30.0) % 4, "b": np.arange(30) % 3, "y": np.arange(30) % 2})
    frame = dense.assign(
        a=dense["a"].astype(pd.SparseDtype("float", 0.0)), b=dense["b"].astype(pd.SparseDtype("int", 0))
    )
    assert load(frame, target="y").fingerprint == load(dense, target="y").fingerprint


# --------------------------------------------------------------------------------------------------------- rare columns


def test_periods_intervals_and_times_with_zones():
    import pandas as pd

    days = pd.date_range("2024-01-01", periods=40)
    for column in (
        days.to_period("D"),
        days.tz_localize("Asia/Tokyo"),
        days.date,
        days.to_numpy().astype("datetime64[s]"),
    ):
        frame = pd.DataFrame({"d": column, "y": np.arange(40) % 2})
        data = load(frame, target="y")
        assert "'d' holds dates: encoded as" in data.dropped[0]
        values = data.inputs["numeric"][:, data.features["numeric"].index("d.days")]
        assert np.allclose(np.diff(values), 1)
        read_again(data, frame)
    binned = pd.DataFrame({"c": pd.cut(np.arange(40.0), 4), "y": np.arange(40) % 2})
    assert len(load(binned, target="y").levels[0]) == 4
    read_again(load(binned, target="y"), binned)
    assert "column 'c' must hold numbers or text, but holds a time" in error_of(
        pd.DataFrame({"c": [days[0].time(), days[1].time()] * 4, "y": [0, 1] * 4}), target="y"
    )


def test_targets_of_every_type():
    import pandas as pd

    X = np.arange(60.0).reshape(30, 2)
    words = ["no", "yes", "no"] * 10
    expected = load((X, words))
    for y in (
        pd.Series(words, dtype="category"),
        pd.Series(words, dtype="string"),
        pd.Series(words, dtype="string[pyarrow]"),
        pd.array(words, dtype="string"),
        np.array(words, dtype="S3"),
        np.array(words, dtype=object)[:, None],
        pd.DataFrame({"y": words}),
    ):
        assert load((X, y)).fingerprint == expected.fingerprint, type(y)
    whole = [0, 1, 0] * 10
    for y in (pd.array(whole, dtype="Int64"), pd.array(whole, dtype="boolean"), np.array(whole, dtype=bool)):
        assert load((X, y)).outputs == 2
    for y in (pd.array(np.arange(30) / 7, dtype="Float64"), (np.arange(30) / 7).tolist()):
        assert load((X, y)).task == "regression"


def test_thousands_of_levels():
    import pandas as pd

    rng = np.random.default_rng(0)
    towns = np.array([f"town {i}" for i in range(3000)])[rng.zipf(1.3, size=20_000) % 3000]
    frame = pd.DataFrame(
        {"town": towns, "code": pd.Categorical(rng.integers(4000, size=20_000)), "y": rng.normal(size=20_000)}
    )
    data = load(frame, target="y")
    assert [len(level) for level in data.levels] == [255, 255]
    assert sum("levels, the rarest, are read as unknown" in said for said in data.dropped) == 2
    commonest = pd.Series(towns).value_counts().index[:50]
    assert set(commonest) <= set(data.levels[0])
    read_again(data, frame)


def test_a_thousand_columns_are_read_in_time():
    import time

    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(500, 1000)), columns=[f"c{i}" for i in range(1000)]).assign(
        y=rng.normal(size=500)
    )
    started = time.process_time()
    load(frame, target="y").holdout(seed=0)
    assert time.process_time() - started < 10


# -------------------------------------------------------------------------------------------------------------- classes


def test_rare_classes_are_learned_from_and_never_left_without_training_rows():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2, 3], [2000, 2, 1, 60])
    data = load((rng.normal(size=(len(y), 3)) + y[:, None], y), task="classification")
    rest, test = data.holdout(seed=0)
    assert set(rest.y) == {0, 1, 2, 3}
    assert set(test.y) == {0, 1, 3}
    for part in rest.splits(4, seed=0):
        assert set(rest.y[part.train]) == {0, 1, 2, 3}
    assert np.isfinite(list(metafeatures(rest).values())).all()
    result = evaluate("linear", rest, rest.splits(1, seed=0))
    assert np.isfinite(list(result.metrics.values())).all()


def test_a_search_with_a_thousand_classes_or_a_skewed_target(tmp_path):
    rng = np.random.default_rng(0)
    quick = {"trials": 1, "history": None, "storage": tmp_path / "h.db", "fidelity": Fidelity(3, 1500, 1)}
    y = np.arange(2000) % 1000
    X = rng.normal(size=(1000, 12))[y] + 0.05 * rng.normal(size=(2000, 12))
    many = nas.search((X, y), task="classification", **quick)
    assert many.confirmation.outcome.metrics["accuracy"] > 0.01  # by chance .001
    assert many.model()(torch.zeros(2, 12)).shape == (2, 1000)
    X = rng.normal(size=(200, 3))
    skewed = nas.search((X, np.exp(X[:, 0])), **quick)
    assert np.isfinite(list(skewed.confirmation.outcome.metrics.values())).all()
    assert skewed.compare()["constant"].difference > 0.0  # on the same rows: one large target can exceed any spread


def test_a_thousand_classes():
    import time

    rng = np.random.default_rng(0)
    y = np.r_[np.arange(1000), rng.integers(1000, size=4000)]
    names = np.array([f"name {i:04d}" for i in range(1000)])
    data = load((rng.normal(size=(5000, 8)), names[y]))
    assert data.outputs == 1000
    assert data.classes == tuple(names)
    assert load((rng.normal(size=(5000, 8)), y)).outputs == 1000  # codes 0 to k - 1
    started = time.process_time()
    p = rng.dirichlet(np.ones(1000), size=1250).astype(np.float32)
    assert np.isfinite(list(metrics("classification", p, data.y[:1250]).values())).all()
    metafeatures(data)
    assert time.process_time() - started < 10


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
