"""Training: the recipe against independent references, bit-for-bit determinism, faults as outcomes, real learning."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas import metrics
from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.dataset.splits import Split
from nas.errors import SearchError
from nas.model import Signature, build
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity, Outcome
from nas.training import Candidate, DivergedError, OutOfTimeError, Recipe, batch_size, fit, precision, train
from nas.training import resident as resident_module
from nas.training.company import split_seed
from nas.training.faults import is_out_of_memory
from nas.training.learn import Budget, Task, Training, advance
from nas.training.optimizer import Moving, fan_ins
from nas.training.recipe import coslog4, cpu_has_bfloat16, faster_in_bfloat16, watched_rows
from nas.training.stack import Stacks
from nas.training.train import training_rows


def chain(*ops: Any, inputs: tuple[str, ...] = ("x",), wide: bool = False) -> Architecture:
    """A chain of operations, each a name or (name, parameters)."""
    g = nx.DiGraph()
    for name in inputs:
        g.add_node(f"in {name}", op="input", parameters={"name": name})
    last = [f"in {name}" for name in inputs]
    for i, what in enumerate(ops):
        op, parameters = (what, {}) if isinstance(what, str) else what
        g.add_node(i, op=op, parameters=parameters)
        g.add_edges_from((source, i) for source in last)
        last = [i]  # type: ignore[list-item]
    g.add_node("y", op="output")
    g.add_edges_from((source, "y") for source in last)
    if wide:
        g.add_edge("in x", "y")
    return Architecture.from_graph(g)


def linear(width: int) -> tuple[str, dict[str, int]]:
    return ("linear", {"width": width})


MLP = chain(linear(32), "mish", "dropout", linear(32), "mish", "dropout", wide=True)


def blobs(n: int = 300, classes: int = 3, seed: int = 0, apart: float = 2.0) -> Dataset:
    """Overlapping normal clouds, one a class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 6)) + apart * rng.normal(size=(classes, 6))[y]
    names = tuple(map(str, range(classes)))
    return Dataset("blobs", "tabular", "classification", {"numeric": x.astype(np.float32)}, y, names)


def waves(n: int = 900, seed: int = 0) -> Dataset:
    """A smooth function of four numbers, in thousands."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = 5000.0 + 1000.0 * (np.sin(1.5 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2]) + 50.0 * rng.normal(size=n)
    return Dataset("waves", "tabular", "regression", {"numeric": x}, y.astype(np.float32))


def stripes(n: int = 160, seed: int = 0) -> Dataset:
    """Noisy images of horizontal or vertical stripes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    ramp = np.where(np.arange(8) % 2, 170.0, 80.0)
    clean = np.where(y[:, None, None] == 0, ramp[None, :, None], ramp[None, None, :])
    pixels = np.clip(clean + 60 * rng.normal(size=(n, 8, 8)), 0, 255).astype(np.uint8)[..., None]
    return Dataset("stripes", "image", "classification", {"image": pixels}, y, ("h", "v"))


def one(architecture: Architecture, data: Dataset, epochs: int = 3, splits: int = 1, **options: Any) -> Outcome:
    settings = options.pop("settings", {})
    return train(
        [Candidate(architecture, settings)],
        data,
        data.splits(splits, 0),
        Fidelity(epochs, 10**6, splits),
        **({"seed": 0} | options),
    )[0]


def plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome without what may differ between runs: its seconds."""
    data = outcome.to_dict()
    del data["cost"]["seconds"]
    return data


# --- recipe


def test_batch_sizes():
    assert [batch_size(n) for n in (1, 5, 20, 100, 511, 512, 8192, 8193, 32_768, 32_769)] == [
        1, 5, 8, 16, 112, 128, 128, 256, 256, 512,
    ]  # fmt: skip


def test_coslog4_is_four_cycles_each_twice_as_long():
    """The factor is 0 where 1 + 15 t is a power of 2 and 1 half way between, on the logarithmic scale."""
    steps = 150_000
    at = lambda t: coslog4(round(t * steps), steps)  # noqa: E731
    for k in range(4):
        assert at((2**k - 1) / 15) < 1e-6
        assert at((2 ** (k + 0.5) - 1) / 15) > 1 - 1e-6
    assert coslog4(steps - 1, steps) < 1e-6


def test_settings_are_checked_by_name_and_range():
    assert Recipe.of({}) == Recipe(0.03, 0.02, 0.1, 0.0)
    with pytest.raises(SearchError, match=r"'learning_rat' is not a training setting; did you mean 'learning_rate'\?"):
        Recipe.of({"learning_rat": 0.1})
    for value in (math.nan, -1.0, "high", True):
        with pytest.raises(SearchError, match="must hold, but got learning_rate="):
            Recipe.of({"learning_rate": value})


def test_only_images_train_in_bfloat16_and_only_where_the_device_computes_in_it():
    assert precision("image", "cuda:0") == "bfloat16"
    assert {precision("tabular", "cpu"), precision("tabular", "cuda"), precision("image", "mps")} == {"float32"}
    assert precision("image", "cpu") == ("bfloat16" if cpu_has_bfloat16() else "float32")
    intel, amd = (
        "vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16",
        "vendor_id\t: AuthenticAMD\nflags\t\t: avx512_bf16",
    )
    found = [faster_in_bfloat16(text) for text in (intel, f"{intel} amx_bf16", amd, "flags\t\t: sse2", "")]
    assert found == [False, True, True, False, False]


class Ntk(nn.Module):
    """The NTK parametrisation: weights divided by sqrt(fan-in) in the forward pass, activations in between."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([layer.weight.detach() * math.sqrt(layer.in_features) for layer in layers])
        self.biases = nn.ParameterList([layer.bias.detach().clone() for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (nn.functional.silu(x) if i else x) @ weight.T / math.sqrt(weight.shape[1]) + bias
        return x


@pytest.mark.parametrize("widths", [(5, 16, 48, 3), (40, 7, 3)])
def test_the_learning_rate_is_that_of_the_ntk_parametrisation_under_adam(widths: tuple[int, ...]):
    """Adam's epsilon is the only difference: it is compared with a gradient sqrt(fan-in) times as large."""
    torch.manual_seed(0)
    ops = [op for width in widths[1:-1] for op in (linear(width), "silu")]
    network = build(chain(*ops), Signature({"x": (widths[0],)}, widths[-1]), seed=0)
    ours = [module for module in network.modules() if isinstance(module, nn.Linear)]
    nn.init.normal_(ours[-1].weight, std=0.1)
    theirs = Ntk(ours)
    recipe = Recipe(learning_rate=0.03, weight_decay=0.02)
    stacks = Stacks([[network]], [[recipe]], [[Moving.of(network, recipe)]], stacked=True)
    reference = torch.optim.AdamW(
        [
            {"params": list(theirs.weights), "lr": 0.03, "weight_decay": 0.02},
            {"params": list(theirs.biases), "lr": 0.003, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=False,
        foreach=False,
    )
    x, y = torch.randn(64, widths[0]), torch.randint(0, widths[-1], (64,))
    for step in range(6):
        for group, base in zip(reference.param_groups, (0.03, 0.003), strict=True):
            group["lr"] = base * (1.0 - step / 10)
        with torch.no_grad():
            answer, back = stacks.stacks[0].forward({"x": x.unsqueeze(0)})
            back(Task(True).gradient(answer, Task(True).targets(y, widths[-1], 0.0).unsqueeze(0)))
            stacks.optimizer.step(1.0 - step / 10)
        reference.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        reference.step()
    torch.testing.assert_close(network({"x": x}), theirs(x), rtol=1e-3, atol=1e-4)
    for layer, weight in zip(ours, theirs.weights, strict=True):
        torch.testing.assert_close(layer.weight * math.sqrt(layer.in_features), weight.data, rtol=1e-3, atol=1e-3)


def test_fan_ins_are_read_from_shapes_or_from_the_module():
    data = Signature({"x": (6,), "categorical": (2, 3)}, 2)
    g = chain("periodic_embedding", "feature_scale", "layer_norm", linear(4)).graph
    g.add_node("c", op="input", parameters={"name": "categorical"})
    g.add_node("e", op="category_embedding", parameters={"size": 5})
    g.add_edges_from([("c", "e"), ("e", next(n for n in g if g.nodes[n]["op"] == "output"))])
    network = build(Architecture.from_graph(g), data)
    found = {
        (type(network.get_submodule(path.rpartition(".")[0])).__name__, path.rpartition(".")[2]): fan_in
        for path, fan_in in fan_ins(network).items()
    }
    assert found["PeriodicEmbedding", "weight"] == 16
    assert found["PeriodicEmbedding", "frequency"] is None
    assert found["FeatureScale", "weight"] == 1
    assert found["CategoryEmbedding", "weight"] == 1
    assert found["LayerNorm", "weight"] is None
    conv = build(chain(("conv3x3", {"width": 4})), Signature({"x": (3, 8, 8)}, 2))
    assert sorted(filter(None, fan_ins(conv).values())) == [4, 27]


def test_the_score_on_the_device_is_that_of_the_metrics():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    found = Task(True).score(torch.from_numpy(logits), torch.from_numpy(y))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(float(found), metrics.score("classification", p, y), rtol=1e-5)
    z, truth = rng.normal(size=50).astype(np.float32), rng.normal(size=50).astype(np.float32)
    found = Task(False).score(torch.from_numpy(z)[:, None], torch.from_numpy(truth))
    expected = metrics.score("regression", 7.0 * z + 100.0, 7.0 * truth + 100.0, scale=7.0)
    np.testing.assert_allclose(float(found), expected, rtol=1e-4)


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


# --- faults


class Failing(nn.Module):
    """Raises what it is given at a call in training."""

    def __init__(self, error: Exception, at: int = 2) -> None:
        super().__init__()
        self.error, self.at, self.calls = error, at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += x.device.type == "cpu"
        if self.calls >= self.at:
            raise self.error
        return x


class Exploding(nn.Module):
    """Gives what is not a number after a few calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += x.device.type == "cpu"
        return x * (math.nan if self.calls > 30 else 1.0)


def broken(make: Any) -> dict[str, Operation]:
    return BUILTIN | {"broken": Operation("broken", 1, lambda shape: make(), lambda shape: shape)}


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("CUDA error: out of memory"), "oom", "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "oom", "allocate"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom", "Tried"),
        (MemoryError(), "oom", "memory ran out"),
        (RuntimeError("mat1 and mat2 shapes\nand a long\nstory"), "error", "RuntimeError: mat1 and mat2 shapes"),
        (KeyError("width"), "error", "KeyError: 'width'"),
    ],
)
def test_what_a_candidate_raises_becomes_its_outcome_and_the_next_is_fine(error: Exception, status: str, message: str):
    data = blobs()
    operations = broken(lambda: Failing(error))
    candidates = [Candidate(chain("broken", linear(4))), Candidate(MLP)]
    found, fine = train(candidates, data, data.splits(1, 0), Fidelity(2, 10**6, 1), seed=0, operations=operations)
    assert found.status == status
    assert message in found.message
    assert "\n" not in found.message
    assert found.score is None
    assert found.cost.seconds > 0
    assert plain(fine) == plain(one(MLP, data, epochs=2))


def test_a_real_allocation_that_cannot_be_met_is_recognised():
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as caught_too:
        np.empty(2**55)
    assert is_out_of_memory(caught_too.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_a_candidate_too_large_is_refused_before_anything_is_allocated():
    huge = Candidate(chain(linear(1_000_000), linear(1_000_000)))
    data = blobs()
    start = time.perf_counter()
    found = train([huge], data, data.splits(1, 0), Fidelity(2, 10**6, 1), seed=0)[0]
    assert time.perf_counter() - start < 10
    assert found.status == "oom"
    assert "MiB" in found.message
    assert found.cost.parameters > 10**12
    assert one(MLP, data, max_memory=1000).status == "oom"
    assert one(MLP, data, max_memory=10**9).status == "complete"


def test_a_loss_that_is_not_finite_is_divergence():
    data = blobs()
    found = one(chain("broken", linear(4)), data, epochs=30, operations=broken(Exploding))
    assert found.status == "diverged"
    assert "not finite" in found.message
    wild = fit_error(Candidate(chain(linear(8), linear(8), linear(8)), {"learning_rate": 100.0}), waves(), epochs=60)
    assert wild is None or isinstance(wild, DivergedError)


def fit_error(candidate: Candidate, data: Dataset, **options: Any) -> Exception | None:
    try:
        fit(candidate, data, np.arange(len(data)), **({"seed": 0, "epochs": 2} | options))
    except DivergedError as error:
        return error
    return None


def test_time_is_up_at_a_step():
    slow = Operation("slow", 1, lambda shape: Slow(), lambda shape: shape)
    start = time.perf_counter()
    found = one(chain("slow"), blobs(), epochs=1000, operations=BUILTIN | {"slow": slow}, seconds=0.3)
    assert time.perf_counter() - start < 5
    assert found.status == "timeout"
    assert "epoch" in found.message
    with pytest.raises(OutOfTimeError):
        fit(Candidate(MLP), blobs(), np.arange(300), epochs=1000, seed=0, seconds=0.0)


class Slow(nn.Module):
    """Takes its time."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            time.sleep(0.05)
        return x


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (Candidate(chain("conv3x3")), "ShapeError: node 1, conv3x3: a convolution or pool takes an image"),
        (Candidate(chain("nonsense")), "ArchitectureError: the operation 'nonsense' is not known"),
        (Candidate(MLP, {"momentum": 0.9}), "SearchError: 'momentum' is not a training setting"),
        (Candidate(chain(linear(4), inputs=("pixels",))), "ArchitectureError: the architecture reads 'pixels'"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_says_why(candidate: Candidate, message: str):
    data = blobs()
    found = train([candidate], data, data.splits(1, 0), Fidelity(2, 10**6, 1), seed=0)[0]
    assert found.status == "error"
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("device", "message"), [("cuda:99", "is not there"), ("gpu", "is named"), ("cpu:x", "is named")]
)
def test_a_device_that_is_not_there_is_the_callers_fault(device: str, message: str):
    with pytest.raises(SearchError, match=message):
        one(MLP, blobs(), device=device)
    with pytest.raises(SearchError, match=message):
        fit(Candidate(MLP), blobs(), np.arange(300), epochs=1, seed=0, device=device)


def test_more_splits_than_there_are_is_the_callers_fault():
    data = blobs()
    with pytest.raises(SearchError, match=r"fidelity.splits"):
        train([Candidate(MLP)], data, data.splits(1, 0), Fidelity(2, 10**6, 2), seed=0)


# --- cost


def test_a_step_costs_little_more_than_its_layers():
    """The loop around a small network, resident data and optimiser included, stays below a millisecond a step."""
    data = blobs(1024)
    network = build(chain(linear(64), "relu", linear(64), "relu"), Signature({"x": (6,)}, 3), seed=0)
    fold = resident_module.Fold(data, np.arange(1024), None)
    rows = fold.rows(("x",), training=True)
    advance([Training(network, rows, None, Recipe(), Task(True), Budget(2), 0)], 2)
    best = math.inf
    for _ in range(5):
        training = Training(network, rows, None, Recipe(), Task(True), Budget(5), 0)
        start = time.process_time()
        advance([training], 5)
        best = min(best, (time.process_time() - start) / 40)
    assert best < 2.5e-3  # about .5 ms on a quiet core; the margin is for busy machines


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


def test_the_gpu_benchmark_runs_in_its_smoke_size_and_says_what_it_did_not_measure(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "benchmarks.gpu",
        "--device",
        "cpu",
        "--out",
        tmp_path / "record.json",
    ]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["cuda_rows"].startswith("not measured")
    assert record["cuda_rows"] in done.stdout
    assert all(check["passed"] for check in record["checks"])
    assert len(record["checks"]) == 7
    assert [len(row["seconds"]["plain"]) for row in record["throughput"]] == [2, 2]
    assert record["torch"] == torch.__version__
    assert "benchmarks.gpu --device cpu" in record["command"]
