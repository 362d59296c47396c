"""Training: real learning, what is kept and scored, bit-for-bit determinism, costs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainings import MLP, blobs, chain, linear, one, plain, stripes, waves

from nas import metrics
from nas.dataset import Dataset
from nas.dataset.splits import Split
from nas.errors import SearchError
from nas.model import Signature, build
from nas.record import Fidelity
from nas.training import Candidate, Recipe, fit, train
from nas.training import resident as resident_module
from nas.training.company import split_seed
from nas.training.learn import Budget, Task, Training, advance
from nas.training.recipe import watched_rows
from nas.training.train import training_rows

# --- learning


def test_a_network_learns_a_table_better_than_a_linear_one_and_than_nothing():
    data = waves()
    deep = one(chain(linear(64), "silu", linear(64), "silu", wide=True), data, epochs=40, settings={"dropout": 0.0})
    flat = one(chain(), data, epochs=40)
    assert deep.score is not None
    assert flat.score is not None
    assert deep.score > -0.3
    assert flat.score < -0.6
    assert deep.metrics["r2"] > 0.9
    assert math.isclose(-deep.metrics["nrmse"], deep.score, rel_tol=1e-9)
    assert deep.metrics["rmse"] > 50.0  # the noise, in the target's units


def test_a_network_learns_images():
    found = one(chain(("conv3x3", {"width": 8}), "relu", "max_pool2x2", "flatten"), stripes(), epochs=8)
    assert found.metrics["accuracy"] > 0.9


def test_a_linear_network_reaches_logistic_regression():
    """A convex problem has one answer: without decay the long schedule ends where scikit-learn's solver does."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    data = blobs(600, apart=0.5)
    rows = np.arange(600)
    settings = {"weight_decay": 0.0, "learning_rate": 0.1}
    trained = fit(Candidate(chain(), settings), data, rows, epochs=60, seed=0)
    view = trained.predictor.preprocess(torch.from_numpy(data.inputs["numeric"]))["x"].numpy()
    truth = linear_model.LogisticRegression(C=1e6, max_iter=2000).fit(view, data.y).predict_proba(view)
    np.testing.assert_allclose(trained.predict(data), truth, atol=0.05)


def test_label_smoothing_softens_the_answer():
    sure, soft = (
        fit(Candidate(MLP, {"label_smoothing": s, "dropout": 0.0}), blobs(), np.arange(300), epochs=30, seed=0)
        for s in (0.0, 0.3)
    )
    assert sure.predict(blobs()).max(axis=1).mean() > soft.predict(blobs()).max(axis=1).mean() + 0.1


def test_the_best_epoch_is_kept_and_scored():
    data, noise = blobs(120, classes=4), np.random.default_rng(0)
    shuffled = Dataset(data.name, data.kind, data.task, data.inputs, noise.permutation(data.y), data.classes)
    split = shuffled.splits(1, 0)[0]
    candidate = Candidate(chain(linear(128), "relu", linear(128), "relu"), {"dropout": 0.0, "weight_decay": 0.0})
    found = train([candidate], shuffled, [split], Fidelity(20, 10**6, 1), seed=3)[0]
    trained = fit(candidate, shuffled, split.train, epochs=20, seed=split_seed(3, 0), validation=split.validation)
    assert found.best_epochs == (trained.best_epoch,)
    assert trained.best_epoch < 20  # pure noise: learning it by heart makes the validation score worse
    assert len(found.curve) == 20
    assert found.score == pytest.approx(max(found.curve), rel=1e-4)
    assert found.curve[trained.best_epoch - 1] == max(found.curve)
    p = trained.predict(shuffled, split.validation)
    assert metrics.score("classification", p, shuffled.y[split.validation]) == pytest.approx(found.score, rel=1e-5)


def test_a_stop_epoch_cuts_the_same_schedule_short():
    data, split = blobs(), blobs().splits(1, 0)[0]
    whole = fit(Candidate(MLP), data, split.train, epochs=12, seed=0, validation=split.validation)
    cut = fit(Candidate(MLP), data, split.train, epochs=12, seed=0, stop_epoch=whole.best_epoch)
    assert (cut.best_epoch, cut.curve) == (whole.best_epoch, ())
    np.testing.assert_array_equal(cut.predict(data), whole.predict(data))
    judged = train([Candidate(MLP)], data, [split], Fidelity(12, 10**6, 1), seed=0, stop_epoch=5)[0]
    assert (judged.best_epochs, judged.curve) == ((5,), ())
    for stop in (0, 13):
        with pytest.raises(SearchError, match="1 <= stop_epoch <= epochs"):
            fit(Candidate(MLP), data, split.train, epochs=12, seed=0, stop_epoch=stop)


def test_few_training_rows_are_not_judged_on_many_after_every_epoch():
    data = blobs(8000, apart=0.7)
    found = train([Candidate(MLP)], data, data.splits(1, 0), Fidelity(3, 100, 1), seed=0)[0]
    trained = fit(
        Candidate(MLP),
        data,
        training_rows(data.splits(1, 0)[0], 100, 0, 0),
        epochs=3,
        seed=split_seed(0, 0),
        validation=data.splits(1, 0)[0].validation[np.linspace(0, 1999, watched_rows(100)).round().astype(int)],
    )
    assert found.curve == pytest.approx(trained.curve, rel=1e-4)
    p = trained.predict(data, data.splits(1, 0)[0].validation)
    every = metrics.score("classification", p, data.y[data.splits(1, 0)[0].validation])
    assert found.score == pytest.approx(every, rel=1e-5)
    assert found.score != pytest.approx(max(found.curve), rel=1e-4)


def test_scores_and_errors_are_pooled_over_splits():
    data = blobs()
    splits = data.splits(3, 0)
    found = train([Candidate(MLP)], data, splits, Fidelity(4, 10**6, 3), seed=5)[0]
    losses, scores, accuracies = [], [], []
    for i, split in enumerate(splits):
        trained = fit(Candidate(MLP), data, split.train, epochs=4, seed=split_seed(5, i), validation=split.validation)
        p = trained.predict(data, split.validation)
        losses.append(metrics.row_losses("classification", p, data.y[split.validation]))
        scores.append(-losses[-1].mean())
        accuracies.append((p.argmax(axis=1) == data.y[split.validation]).mean())
    assert found.score == pytest.approx(np.mean(scores), rel=1e-5)
    assert found.metrics["accuracy"] == pytest.approx(np.mean(accuracies), rel=1e-9)
    rows = np.concatenate([split.validation for split in splits])
    error = metrics.standard_error("classification", np.concatenate(losses), rows)
    assert found.standard_error == pytest.approx(error, rel=1e-4)
    assert len(found.best_epochs) == 3


def test_a_constant_target_and_a_tiny_dataset_are_no_faults():
    data = waves(30)
    flat = Dataset("flat", data.kind, data.task, data.inputs, np.full(30, 7.0, np.float32))
    assert one(MLP, flat).status == "complete"
    assert one(MLP, blobs(9, classes=2, seed=1)).status == "complete"
    assert one(chain("batch_norm", linear(4)), waves(3)).status == "complete"


def test_views_too_large_to_keep_are_computed_batch_by_batch(monkeypatch):
    expected = one(chain("piecewise_linear", linear(8), inputs=("quantile",)), waves())
    monkeypatch.setattr(resident_module, "VIEW_BYTES", 100)
    found = one(chain("piecewise_linear", linear(8), inputs=("quantile",)), waves())
    assert found.score == pytest.approx(expected.score, abs=1e-5)


def test_an_architecture_without_the_datas_inputs_trains_on_what_is_left():
    both = chain(linear(8), "relu", inputs=("x", "onehot"))
    assert one(both, blobs()).score == one(chain(linear(8), "relu"), blobs()).score


def test_a_constant_network_is_trained_too():
    found = one(chain("zero"), blobs(), epochs=10)
    assert found.status == "complete"
    assert found.cost.parameters == 3
    assert -0.68 < (found.score or 0.0) < -0.64  # the prior of three classes: Brier 2 / 3


# --- determinism


def test_the_same_call_twice_alone_or_in_company_gives_the_same_bits():
    data = blobs()
    splits, fidelity = data.splits(2, 0), Fidelity(4, 150, 2)
    strange = Candidate(chain(("linear", {"width": 0})))
    wide = Candidate(chain(linear(40), "relu", "dropout"), {"dropout": 0.4})
    options: dict[str, Any] = {"data": data, "splits": splits, "fidelity": fidelity, "seed": 1}
    company = train([wide, strange, Candidate(MLP)], **options)
    torch.manual_seed(123)
    torch.rand(7)
    alone = train([Candidate(MLP)], **options)
    assert plain(company[2]) == plain(alone[0])
    assert plain(company[0]) == plain(train([wide], **options)[0])
    assert company[1].status == "error"
    other = train([Candidate(MLP)], **(options | {"seed": 2}))
    assert other[0].score != alone[0].score


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    one(MLP, blobs())
    assert torch.equal(torch.rand(4), expected)


def test_fewer_rows_are_a_part_of_more_rows():
    split = waves().splits(1, 0)[0]
    few, more = (training_rows(split, rows, seed=0, index=0) for rows in (40, 80))
    assert len(np.unique(few)) == 40
    assert set(few) < set(more) < set(split.train)
    assert training_rows(split, 10**6, seed=0, index=0) is split.train


# --- cost


def test_a_step_costs_little_more_than_its_layers():
    """A small network's, the loop, resident data and optimiser included; on a machine of any speed."""
    data = blobs(1024)
    network = build(chain(linear(64), "relu", linear(64), "relu"), Signature({"x": (6,)}, 3), seed=0)
    fold = resident_module.Fold(data, np.arange(1024), None)
    rows = fold.rows(("x",), training=True)
    layers = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    x, y = torch.randn(128, 6), torch.randint(0, 3, (128,))

    def forth_and_back() -> None:
        for _ in range(40):
            nn.functional.cross_entropy(layers(x), y).backward()

    best = {"steps": math.inf, "layers": math.inf}
    for _ in range(6):  # turn by turn; the first time each loads what is loaded once
        training = Training(network, rows, None, Recipe(), Task(True), Budget(5), 0)
        for name, of_40 in (("steps", lambda: advance([training], 5)), ("layers", forth_and_back)):  # noqa: B023
            start = time.process_time()
            of_40()
            best[name] = min(best[name], time.process_time() - start)
    assert best["steps"] < 3 * best["layers"]


def test_costs_are_reported():
    found = one(chain(linear(16), "relu"), blobs())
    assert found.cost.parameters == 6 * 16 + 16 + 16 * 3 + 3
    assert found.cost.flops == 2 * (6 * 16 + 16 * 3)
    assert found.cost.memory > 20 * found.cost.parameters
    assert found.cost.device == "cpu"


def test_splits_may_be_of_any_kind_with_two_row_sets():
    data = blobs()
    split = Split(np.arange(200), np.arange(200, 300))
    assert train([Candidate(MLP)], data, [split], Fidelity(2, 50, 1), seed=0)[0].status == "complete"


ALONE = """
import runpy, sys

class Without:  # a machine that is lent for an hour has torch, and little else
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, path, target)

hidden = set(sys.argv.pop(1).split())
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""
HIDDEN = (
    "jinja2 matplotlib onnx onnxruntime onnxscript optuna pandas PIL platformdirs pyarrow safetensors scipy sklearn "
    "sqlalchemy tqdm"
)


def test_the_gpu_benchmark_runs_in_its_smoke_size_beside_torch_alone_and_says_what_it_did_not_measure(tmp_path):
    out = tmp_path / "record.json"
    command = [sys.executable, "-W", "error", "-c", ALONE, HIDDEN, "--smoke", "--device", "cpu", "--out", out]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["cuda_rows"].startswith("not measured")
    assert record["cuda_rows"] in done.stdout
    assert all(check["passed"] for check in record["checks"])
    assert len(record["checks"]) == 7
    assert [len(row["seconds"]["plain"]) for row in record["throughput"]] == [2, 2]
    assert record["torch"] == torch.__version__
    assert "benchmarks.gpu --smoke --device cpu" in record["command"]
