"""Preprocessing: views against scikit-learn and numpy, gaps and strangers, no look at other rows, export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.dataset import Dataset
from nas.errors import DataError
from nas.preprocess import LEVELS, QUANTILES, Preprocess


def table(numeric: np.ndarray | None = None, categorical: np.ndarray | None = None, **changes: object) -> Dataset:
    inputs = {}
    if numeric is not None:
        inputs["numeric"] = np.asarray(numeric, dtype=np.float32)
    if categorical is not None:
        inputs["categorical"] = np.asarray(categorical, dtype=np.int64)
    n = len(next(iter(inputs.values())))
    given = {"name": "t", "kind": "tabular", "task": "regression", "inputs": inputs, "y": np.zeros(n, np.float32)}
    return Dataset(**(given | changes))  # type: ignore[arg-type]


def views(data: Dataset, preprocess: Preprocess, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    numbers = np.arange(len(data)) if rows is None else rows
    out = preprocess(*(torch.from_numpy(data.inputs[name][numbers]) for name in preprocess.raw))
    for name, view in out.items():
        assert tuple(view.shape[1:]) == preprocess.shapes[name], name
        assert view.dtype == torch.float32
        assert torch.isfinite(view).all(), name
    return {name: view.numpy() for name, view in out.items()}


def test_numbers_are_scaled_as_scikit_learn_does_and_clipped_smoothly():
    robust_scale = pytest.importorskip("sklearn.preprocessing").robust_scale
    x = np.random.default_rng(0).normal(size=(500, 4)) * [1, 10, 0.1, 1000] + [0, 5, -3, 1e4]
    x[:, 3] = np.exp(x[:, 3] / 2000)
    data = table(x)
    scaled = robust_scale(data.inputs["numeric"].astype(np.float64))
    found = views(data, Preprocess.fit(data, np.arange(500)))
    np.testing.assert_allclose(found["numeric"], scaled / np.sqrt(1 + (scaled / 3) ** 2), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found["x"], found["numeric"])
    assert set(found) == {"x", "numeric", "quantile"}


def test_columns_without_spread_fall_back_to_their_range_and_then_to_nothing():
    x = np.zeros((100, 3))
    x[:10, 0] = 4.0  # quartiles equal, range 4
    x[:, 2] = 7.0  # constant
    x[:, 1] = np.arange(100)
    found = views(table(x), Preprocess.fit(table(x), np.arange(100)))["numeric"]
    np.testing.assert_allclose(found[0, 0], 2.0 / np.sqrt(1 + 4 / 9), rtol=1e-5)
    assert (found[:, 2] == 0).all()


def test_quantiles_are_the_empirical_distribution():
    rng = np.random.default_rng(1)
    x = np.stack([rng.exponential(size=4000), rng.normal(size=4000)], axis=1)
    data = table(x)
    u = views(data, Preprocess.fit(data, np.arange(4000)))["quantile"]
    ranks = x.argsort(axis=0).argsort(axis=0) / 3999
    assert np.abs(u - ranks).max() < 1.0 / QUANTILES
    assert u.min() == 0.0
    assert u.max() == 1.0
    far = table(np.array([[-1e30, 1e30], [1e30, -1e30]]))
    np.testing.assert_allclose(views(far, Preprocess.fit(data, np.arange(4000)))["quantile"], [[0, 1], [1, 0]])


def test_ties_share_their_mean_rank_and_constants_stand_in_the_middle():
    x = np.array([[0.0, 5.0]] * 30 + [[1.0, 5.0]] * 70)
    u = views(table(x), Preprocess.fit(table(x), np.arange(100)))["quantile"]
    np.testing.assert_allclose(u[[0, -1], 0], [0.15, 0.65], atol=0.02)
    np.testing.assert_allclose(u[:, 1], 0.5, atol=1e-6)


def test_gaps_are_marked_and_stand_in_the_middle():
    x = np.arange(40.0).reshape(20, 2)
    x[3, 1] = np.nan
    data = table(x)
    preprocess = Preprocess.fit(data, np.arange(20))
    found = views(data, preprocess)
    assert preprocess.shapes["missing"] == (1,)
    assert found["missing"].ravel().tolist() == [0, 0, 0, 1] + [0] * 16
    assert found["numeric"][3, 1] == 0.0
    assert found["quantile"][3, 1] == 0.5
    np.testing.assert_array_equal(found["x"], np.concatenate((found["numeric"], found["missing"]), axis=1))


def test_gaps_training_never_saw_are_filled_without_a_mark():
    x = np.arange(40.0).reshape(20, 2)
    x[3] = np.nan
    data = table(x)
    found = views(data, Preprocess.fit(data, np.arange(4, 20)))
    assert "missing" not in found
    assert (found["numeric"][3] == 0.0).all()


def test_a_column_of_gaps_is_harmless():
    x = np.full((6, 2), np.nan)
    x[:, 1] = np.arange(6)
    found = views(table(x), Preprocess.fit(table(x), np.arange(6)))
    assert (found["numeric"][:, 0] == 0.0).all()
    assert (found["missing"] == 1.0).all()


def test_levels_have_slots_of_their_own_and_the_rest_share_one():
    rng = np.random.default_rng(2)
    many = rng.permutation(np.repeat(np.arange(50), np.arange(50, 0, -1)))  # level 0 is the commonest
    few = rng.integers(0, 3, len(many))
    data = table(None, np.stack([many, few], axis=1))
    preprocess = Preprocess.fit(data, np.arange(len(many)))
    found = views(data, preprocess)
    assert preprocess.shapes["onehot"] == (LEVELS + 1 + 3,)
    assert preprocess.shapes["categorical"] == (2, LEVELS + 1)
    assert (found["onehot"].sum(axis=1) == 2).all()
    slot = found["categorical"][:, 0].argmax(axis=1)
    assert (slot[many < LEVELS] == many[many < LEVELS]).all()
    assert (slot[many >= LEVELS] == LEVELS).all()
    np.testing.assert_array_equal(found["categorical"][:, 1, :3], np.eye(3)[few])
    np.testing.assert_array_equal(found["x"], found["onehot"])


def test_codes_training_never_saw_fall_into_the_rest_or_nowhere():
    levels = (("a", "b", "c"), ("u", "v"))
    data = table(None, np.array([[0, 0], [1, 1], [-1, 0], [2, -1]]), levels=levels)
    found = views(data, Preprocess.fit(data, np.arange(3)))["categorical"]
    assert found[2, 0].tolist() == found[3, 0].tolist() == [0, 0, 1]  # column 0 had a gap: a slot for the rest
    assert found[3, 1].tolist() == [0, 0, 0]  # column 1 had none
    strange = Preprocess.fit(data, np.arange(3))(torch.tensor([[99, -7]]))["categorical"]
    assert strange[0].tolist() == [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("levels", "slots"), [(3, 3), (15, 15), (16, 16), (17, 18), (32, 32)])
def test_slots_are_filled_up_with_zeros_so_that_a_rare_level_changes_no_shape(levels: int, slots: int):
    data = table(None, np.arange(levels)[:, None])
    preprocess = Preprocess.fit(data, np.arange(levels))
    assert preprocess.shapes["onehot"] == preprocess.shapes["x"] == (slots,)
    np.testing.assert_array_equal(views(data, preprocess)["onehot"], np.eye(levels, slots))


def test_images_are_standardised_by_channel():
    images = np.random.default_rng(3).integers(0, 200, (20, 5, 6, 3)).astype(np.uint8)
    images[..., 2] = 9
    data = Dataset("i", "image", "regression", {"image": images}, np.zeros(20, np.float32))
    preprocess = Preprocess.fit(data, np.arange(10))
    found = views(data, preprocess)["x"]
    assert found.shape == (20, 3, 5, 6)
    np.testing.assert_allclose(found[:10, :2].mean(axis=(0, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(found[:10, :2].std(axis=(0, 2, 3)), 1.0, rtol=1e-5)
    assert (found[:, 2] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_only_the_training_rows_count_and_every_view_is_finite(seed: int):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 60)), int(rng.integers(1, 5))
    x = (rng.normal(size=(n, d)) * 10.0 ** rng.integers(-30, 30, d)).astype(np.float32)
    x[rng.random((n, d)) < 0.2] = np.nan
    codes = rng.integers(-1, 5, (n, 2))
    levels = (tuple("abcde"),) * 2
    rows = np.sort(rng.permutation(n)[: int(rng.integers(1, n))])
    one = Preprocess.fit(table(x, codes, levels=levels), rows)
    other_x, other_codes = x.copy(), codes.copy()
    rest = np.setdiff1d(np.arange(n), rows)
    other_x[rest], other_codes[rest] = 1e30, 0
    two = Preprocess.fit(table(other_x, other_codes, levels=levels), rows)
    assert one.shapes == two.shapes
    for (name, a), (_, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    found = views(table(x, codes, levels=levels), one)
    assert np.abs(found["numeric"]).max() <= 3.0
    assert found["quantile"].min() >= 0.0
    assert found["quantile"].max() <= 1.0 + 1e-6
    each = [views(table(x, codes, levels=levels), one, np.array([i])) for i in range(n)]
    for name, view in found.items():
        np.testing.assert_allclose(view, np.concatenate([row[name] for row in each]), rtol=1e-6, atol=1e-7)


def test_a_choice_of_views():
    data = table(np.arange(20.0).reshape(10, 2))
    preprocess = Preprocess.fit(data, np.arange(10))
    assert set(views(data, preprocess.only(["quantile"]))) == {"quantile"}
    assert preprocess.views == ("x", "numeric", "quantile")
    with pytest.raises(DataError, match=r"'quantiel' does not exist; did you mean 'quantile'\?"):
        preprocess.only(["quantiel"])


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least one training row"):
        Preprocess.fit(table(np.zeros((3, 1))), np.arange(0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own, while exporting
def test_all_views_export_with_a_dynamic_batch(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    x[rng.random((60, 3)) < 0.2] = np.nan
    data = table(x, rng.integers(-1, 4, (60, 2)), levels=(tuple("abcd"),) * 2)
    preprocess = Preprocess.fit(data, np.arange(50)).eval()
    raw = tuple(torch.from_numpy(data.inputs[name]) for name in preprocess.raw)
    shapes = (tuple({0: torch.export.Dim("batch")} for _ in raw),)
    traced = torch.export.export(preprocess, raw, dynamic_shapes=shapes, strict=False)
    program = torch.onnx.export(traced, dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "views.onnx")
    session = ort.InferenceSession(str(tmp_path / "views.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 17):
        fed = {put.name: tensor[:rows].numpy() for put, tensor in zip(session.get_inputs(), raw, strict=True)}
        expected = preprocess(*(tensor[:rows] for tensor in raw))
        for got, wanted in zip(session.run(None, fed), expected.values(), strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-5, atol=1e-6)
