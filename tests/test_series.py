"""Series: every form people have them in, what the network's first layers do with them, a search from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.baselines import evaluate
from nas.dataset import Dataset, encode_rows, load
from nas.dataset.series import lengths, windows
from nas.errors import DataError
from nas.metafeatures import metafeatures
from nas.model import Signature, build
from nas.prediction import predict_file
from nas.preprocess import Preprocess
from nas.record import Fidelity
from search_spaces import default_for, series

SHARED = Path(__file__).parents[2] / "shared" / "datasets" / "series"


def waves(rows=40, channels=2, steps=24, seed=0, short=False):
    """Returns (X, y): slow or fast waves of random phase, which no single step tells; every fifth series ends early."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    speed = np.where(y == 1, 0.9, 0.3)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (rows, channels, 1))
    X = 5.0 + 2.0 * np.sin(speed * np.arange(steps) + phase) + 0.2 * rng.normal(size=(rows, channels, steps))
    if short:
        X[::5, :, 2 * steps // 3 :] = np.nan
    return X.astype(np.float32), y


# --- reading ----------------------------------------------------------------------------------------------------------


def test_every_form_of_the_same_series_is_the_same_dataset(tmp_path):
    X, y = waves(channels=1)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    frame = pd.DataFrame(X[:, 0].astype(np.float64), columns=[f"t{i}" for i in range(24)]).assign(label=y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = load((X, y))
    assert (data.kind, data.describe()) == ("series", "40 series x 1 channel x 24 steps, 2 classes")
    for same in (
        load((X[:, 0], y), kind="series"),
        load((list(X), y), kind="series"),
        load((X.astype(np.float64), y)),
        load(tmp_path / "a.npz"),
        load(frame, target="label", kind="series"),
    ):
        assert same.fingerprint == data.fingerprint
    read = load(tmp_path / "a.csv", target="label", kind="series")
    np.testing.assert_allclose(read.inputs["series"], X, rtol=1e-5)
    for again in (X, X[:, 0], list(X[:, 0]), tmp_path / "a.npz", frame, frame.drop(columns="label")):
        np.testing.assert_array_equal(encode_rows(again, data.schema() | {"target": "label"})["series"], X)


def test_series_of_unequal_length_are_missing_after_their_end():
    X, y = waves(short=True)
    pieces = [row[:, ~np.isnan(row[0])] for row in X]
    data = load((pieces, y))
    np.testing.assert_array_equal(data.inputs["series"], X)
    assert "16 to 24 steps: the shorter ones count as missing after their end" in data.dropped[-1]
    objects = np.empty(len(pieces), dtype=object)
    objects[:] = pieces
    assert load((objects, y)).fingerprint == data.fingerprint
    assert lengths(X).tolist() == [16 if row % 5 == 0 else 24 for row in range(40)]
    new = encode_rows([np.ones((2, 3)), np.ones((2, 99))], data.schema())["series"]
    assert new.shape == (2, 2, 24)
    assert np.isnan(new[0]).sum() == 2 * 21
    assert not np.isnan(new[1]).any()
    assert encode_rows(np.ones((2, 24)), data.schema())["series"].shape == (1, 2, 24)  # one series
    with pytest.raises(DataError, match="must have 2 channels"):
        encode_rows(np.ones((4, 3, 24)), data.schema())


def test_what_was_decided_is_said():
    X, y = waves(channels=3, steps=2)
    X[1, 1, 1] = np.inf
    data = load((X, y))
    assert "read as series of 3 channels x 2 steps; if steps come first, pass X.transpose(0, 2, 1)" in data.dropped[0]
    assert data.dropped[1] == "1 infinite values in X count as missing"
    assert np.isnan(data.inputs["series"][1, 1, 1])
    assert load((X, y), kind="series").dropped == data.dropped[1:]
    assert load((X, y), kind="tabular").inputs["numeric"].shape == (40, 6)


@pytest.mark.parametrize(
    ("X", "options", "words"),
    [
        (np.zeros((4, 2, 0)), {}, "have shape"),
        (np.zeros((4, 2, 3, 5)), {"kind": "series"}, "have shape"),
        (np.zeros((4, 3)), {"kind": "serie"}, "did you mean 'series'"),
        ([np.zeros((2, 3)), np.zeros((3, 3)), np.zeros((2, 4)), np.zeros((2, 3))], {}, "the same channels"),
        ([np.zeros(3), np.zeros(4), np.array(["a", "b"]), np.zeros(3)], {}, "must be numbers"),
        ([np.zeros(3), np.zeros(4)] * 2, {"kind": "tabular"}, "rows of equal length"),
        (np.array([["a", "b"]] * 4), {"kind": "series"}, "column 'f0' holds 'a'"),
        (pd.DataFrame({"a": [1.0] * 4, "b": ["x"] * 4}), {"kind": "series"}, "column 'b' holds 'x'"),
        (pd.DataFrame({"a": [1.0] * 4}), {"kind": "image"}, "is tabular, but kind='image'"),
    ],
)
def test_what_is_no_series(X, options, words):
    with pytest.raises(DataError, match=words) as caught:
        load((X, [0, 1, 0, 1]), **options)
    assert "\n" not in str(caught.value)


def test_a_row_far_longer_than_the_rest_is_refused_before_memory_is_taken():
    pieces = [np.zeros(2)] * 100_000 + [np.broadcast_to(np.float32(0), (10**6,))]
    with pytest.raises(DataError, match="cut them into windows"):
        load((pieces, np.arange(len(pieces)) % 2))


# --- what models see --------------------------------------------------------------------------------------------------


def test_channels_are_standardised_over_what_was_observed_and_gaps_are_marked():
    X, y = waves(short=True)
    X[:, 1] = 1e6 + 100.0 * X[:, 1]
    data = load((X, y))
    preprocess = Preprocess.fit(data, np.arange(20))
    found = preprocess(torch.from_numpy(data.inputs["series"]))["x"].numpy()
    assert found.shape == (40, 3, 1, 24)
    known = ~np.isnan(X)
    for channel in (0, 1):
        seen = found[:20, channel, 0][known[:20, channel]]
        assert abs(seen.mean()) < 0.01
        assert abs(seen.std() - 1.0) < 0.02
    assert (found[:, :2, 0][~known] == 0.0).all()
    np.testing.assert_array_equal(found[:, 2, 0], known[:, 0])
    whole = load(waves())
    assert Preprocess.fit(whole, np.arange(20)).shapes["x"] == (2, 1, 24)  # no gaps, no mark


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_everything_is_finite_whatever_the_numbers(seed):
    rng = np.random.default_rng(seed)
    n, channels, steps = int(rng.integers(4, 12)), int(rng.integers(1, 4)), int(rng.integers(1, 9))
    scale = 10.0 ** rng.integers(-38, 38, (1, channels, 1))
    X = np.clip(rng.normal(size=(n, channels, steps)) * scale, -3e38, 3e38).astype(np.float32)
    X[rng.random(X.shape) < rng.choice([0.0, 0.3, 1.0])] = np.nan
    data = load((X, np.arange(n) % 2), kind="series")
    found = Preprocess.fit(data, np.arange(n))(torch.from_numpy(data.inputs["series"]))["x"]
    assert torch.isfinite(found).all()
    assert found.abs().max() <= 10.0
    assert all(np.isfinite(value) for value in metafeatures(data).values())


def test_windows_are_means_of_what_was_observed():
    X = np.array([[[1.0, 2.0, np.nan, 4.0, np.nan, np.nan]]])
    np.testing.assert_array_equal(windows(X, 3), [[1.5, 4.0, np.nan]])
    np.testing.assert_array_equal(windows(X, 99), X[:, 0])


@pytest.mark.parametrize("name", ["linear", "boosted_trees"])
def test_models_without_a_search_see_the_steps(name):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 2, 700)).astype(np.float32)
    X[:, 0, 300:400] += y[:, None]
    X[::3, :, 600:] = np.nan
    data = load((X, y), kind="series")
    assert evaluate(name, data, data.splits(2, seed=0)).metrics["accuracy"] > 0.9
    told = metafeatures(data)
    assert (told["is_image"], told["channels"]) == (0.0, 2.0)
    assert told["log_pixels"] == pytest.approx(np.log1p(700), abs=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 13, 30, 150, 1460, 30_000])
def test_every_architecture_of_the_default_space_can_be_built(steps):
    data = Dataset(
        "s", "series", "regression", {"series": np.zeros((2, 2, steps), dtype=np.float32)}, np.zeros(2, np.float32)
    )
    space, rng = default_for(data), np.random.default_rng(0)
    signature = Signature({"x": (2, 1, steps)}, 1)
    for choices in (space.default(), *(space.sample(rng) for _ in range(5))):
        with torch.device("meta"):
            network = build(space.architecture(choices), signature, space.operations)
        inside = [step.shape[2] for step in network.steps[1:] if len(step.shape) == 3]
        assert max(inside) <= max(200, steps / 16 + 1)
    assert not any("label_smoothing" in path for path in space.decisions())
    assert any("label_smoothing" in path for path in series().decisions())


# --- from end to end --------------------------------------------------------------------------------------------------

QUICK = {"trials": 2, "fidelity": Fidelity(epochs=8, rows=60, splits=1)}


def test_a_search_is_exported_predicts_and_teaches_the_next(tmp_path):
    X, y = waves(rows=80, short=True)
    history = tmp_path / "history.db"
    words = np.array(["slow", "fast"])
    result = nas.search((X, words[y]), kind="series", history=history, test=0.25, **QUICK | {"trials": 5})
    assert result.test_metrics()["accuracy"] > 0.8
    path = tmp_path / "model.onnx"
    assert result.export(path).largest_difference < 1e-4
    new, truth = waves(rows=30, seed=1)
    np.savez(tmp_path / "new.npz", X=np.concatenate([new, new], axis=2), y=truth)  # twice as long
    predicted = predict_file(path, tmp_path / "new.npz")
    assert (predicted["prediction"] == words[truth]).mean() > 0.8
    assert set(result.dataset.classes) == {"slow", "fast"}
    # another dataset of the kind hears this one, in the same space
    other = load(waves(rows=60, channels=1, steps=40, seed=2))
    again = nas.search(other, history=history, **QUICK)
    assert any(weight > 0.0 for name, weight in again.explain().weights.items() if "arrays" in name)
    assert "60 series x 1 channel x 40 steps" in again.report(tmp_path / "report.html").read_text()


def test_a_stand_alone_file_takes_series_of_any_length(tmp_path):
    X, y = waves(rows=40, short=True)
    result = nas.search((X, y), history=None, storage=tmp_path / "h.db", **QUICK)
    result.export(tmp_path / "alone.py")
    code = (
        "import sys, json; sys.path.insert(0, '.'); sys.modules['nas'] = None; import torch, alone;"
        "net = alone.load(); print(json.dumps(alone.predict(net, [torch.ones(2, 5), torch.zeros(2, 50)])))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = encode_rows([np.ones((2, 5)), np.zeros((2, 50))], result.dataset.schema())["series"]
    with torch.inference_mode():
        truth = result.model().eval()(torch.from_numpy(rows)).numpy()
    found = [[row["probability_0"], row["probability_1"]] for row in json.loads(done.stdout)]
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_the_estimator_takes_series(tmp_path):
    X, y = waves(rows=40, short=True)
    fitted = nas.NASClassifier(history=None, storage=tmp_path / "h.db", **QUICK).fit(X, y)
    assert fitted.result_.dataset.kind == "series"
    fitted.save(tmp_path / "a.nas")
    again = nas.NASClassifier.load(tmp_path / "a.nas")
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared datasets")
@pytest.mark.parametrize(("name", "sizes"), [("GunPoint", (50, 150)), ("JapaneseVowels", (270, 370))])
def test_archives_keep_their_split(name, sizes):
    data = load(SHARED / f"{name}.npz")
    assert data.kind == "series"
    assert tuple(map(len, data.holdout(0))) == sizes
