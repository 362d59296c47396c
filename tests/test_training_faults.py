"""Bad input: every case ends in an outcome that says why, or in a training that is fine."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from test_training_company import architecture, blobs
from torch import Tensor, nn

import nas
from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.dataset.splits import Split
from nas.errors import DataError
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity, Outcome
from nas.training import Candidate, Halving, company, learn, train
from nas.training.company import Company, Evaluation
from nas.training.fit import begin
from nas.training.learn import Budget
from nas.training.memory import free_memory
from nas.training.pruner import Curve
from nas.training.resident import Fold
from nas.training.train import train_on

MLP = Candidate(architecture("chain", 16), {})


def outcomes(data: Dataset, split: Split, *candidates: Candidate, **options: Any) -> list[Outcome]:
    return train(candidates or (MLP,), data, [split], Fidelity(3, 10**6, 1), seed=0, **options)


@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_fewer_rows_than_a_batch(rows: int):
    assert outcomes(blobs(), Split(np.arange(rows), np.arange(100, 150)))[0].status == "complete"
    assert outcomes(blobs(), Split(np.arange(100), np.arange(100, 101)))[0].status == "complete"


def test_a_batch_larger_than_the_data_is_all_of_it():
    fold = Fold(blobs(), np.arange(60), np.arange(300, 400))
    large, whole = (begin(MLP, fold, Budget(2), 0, batch=rows) for rows in (128, 60))
    learn.advance([large], 2)
    learn.advance([whole], 2)
    assert large.state.curve == whole.state.curve
    assert len(whole.state.curve) == 2


def test_a_class_that_training_never_sees():
    data = blobs()
    seen = np.flatnonzero(data.y != 2)
    found = outcomes(data, Split(seen[:150], np.arange(300, 400)))[0]
    assert found.status == "complete"
    assert found.metrics["accuracy"] < 1.0


def test_a_learning_rate_that_diverges_at_once_is_an_outcome_beside_others():
    data, split = blobs(), Split(np.arange(300), np.arange(300, 400))
    mild = Candidate(MLP.architecture, {"learning_rate": 0.01})
    wild = Candidate(MLP.architecture, {"learning_rate": 100.0, "weight_decay": 100.0})
    alone = outcomes(data, split, mild)[0]
    found = outcomes(data, split, wild, mild)
    assert found[0].status == "diverged"
    assert found[0].score is None
    assert (found[1].score, found[1].curve) == (alone.score, alone.curve)


class _BadBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise ValueError("no gradient today")


class _Bad(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _BadBackward.apply(x) if x.device.type == "cpu" and x.requires_grad else x  # type: ignore[no-any-return]


def test_an_operation_whose_backward_fails_is_an_error_of_its_own():
    g = MLP.architecture.graph
    output = next(n for n in g if g.nodes[n]["op"] == "output")
    last = next(iter(g.predecessors(output)))
    g.remove_edge(last, output)
    g.add_node("bad", op="bad", parameters={})
    g.add_edges_from([(last, "bad"), ("bad", output)])
    operations = BUILTIN | {"bad": Operation("bad", 1, lambda shape: _Bad(), lambda shape: shape)}
    split = Split(np.arange(300), np.arange(300, 400))
    bad = Candidate(Architecture.from_graph(g))
    found = outcomes(blobs(), split, bad, MLP, operations=operations)
    assert (found[0].status, found[0].message) == ("error", "ValueError: no gradient today")
    assert found[1].status == "complete"


def test_memory_that_runs_out_in_company_is_tried_with_fewer(monkeypatch):
    """A real limit on how many are trained at once, not on what they compute: four fail, two do not."""
    data, split = blobs(), Split(np.arange(300), np.arange(300, 400))
    candidates = [Candidate(MLP.architecture, {"learning_rate": 0.01 * (i + 1)}) for i in range(4)]
    expected = outcomes(data, split, *candidates)
    sizes: list[int] = []
    failed: list[weakref.ref[Any]] = []
    held: list[Any] = []
    build = learn.Stack.__init__

    def limited(self: Any, networks: Any, *arguments: Any, **options: Any) -> None:
        sizes.append(len(networks))
        held.extend(each() for each in failed)
        if len(networks) > 2:
            failed.append(weakref.ref(self))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        build(self, networks, *arguments, **options)

    monkeypatch.setattr(learn.Stack, "__init__", limited)
    found = outcomes(data, split, *candidates)
    assert sizes == [4, 2, 2]
    assert held == [None, None]  # what failed is gone when fewer are tried
    assert [each.score for each in found] == [each.score for each in expected]
    monkeypatch.setattr(learn.Stack, "__init__", lambda *a, **o: (_ for _ in ()).throw(MemoryError()))
    assert {each.status for each in outcomes(data, split, *candidates)} == {"oom"}


@pytest.mark.parametrize("pruner", [None, Halving(3)])
def test_who_finds_no_memory_beside_those_that_wait_is_trained_without_them(monkeypatch, pruner):
    """A real limit on how many networks there are, trained or waiting: each of them fits alone."""
    data, split = blobs(), Split(np.arange(300), np.arange(300, 400))
    candidates = [Candidate(architecture("chain", width)) for width in (8, 16, 24, 32, 40)]
    expected = outcomes(data, split, *candidates)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def limited(*arguments: Any, **options: Any) -> Any:
        if len(alive) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        alive.add(training := begin(*arguments, **options))
        return training

    monkeypatch.setattr(company, "begin", limited)
    found = outcomes(data, split, *candidates, pruner=pruner)
    assert {each.status for each in found} == {"complete"}
    for one, other in zip(found, expected, strict=True):
        assert one.curve == other.curve[: len(one.curve)]
        assert one.score == other.score or len(one.curve) < len(other.curve)
    alive.update(waiting := [begin(MLP, Fold(data, np.arange(300), None), Budget(3), seed=0) for _ in range(2)])
    assert {each.status for each in outcomes(data, split, *candidates)} == {"oom"}
    assert waiting


def test_memory_that_runs_out_after_a_rung_goes_on_from_there(monkeypatch):
    """Two do not fit side by side any more from the second rung on; nothing is trained twice, and no bit is another."""
    data, split = blobs(), Split(np.arange(300), np.arange(300, 400))
    candidates = [Candidate(architecture("chain", w), {"learning_rate": r}) for w in (16, 24) for r in (0.01, 0.02)]
    pruner = Halving(2, first=2)  # rungs 2, 4 of 8
    options: dict[str, Any] = {"seed": 0, "pruner": pruner}
    expected = train(candidates, data, [split], Fidelity(8, 10**6, 1), **options)
    begun = []
    build = learn.Stacks.__init__

    def limited(self: Any, networks: Any, recipes: Any, moving: Any, **more: Any) -> None:
        rows = [row for rows in moving for row in rows]
        if rows[0].steps > 0 and len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        begun.append((len(rows), rows[0].steps))
        build(self, networks, recipes, moving, **more)

    monkeypatch.setattr(learn.Stacks, "__init__", limited)
    found = train(candidates, data, [split], Fidelity(8, 10**6, 1), **options)
    a_rung = begun[1][1]
    assert begun == [(4, 0), (1, a_rung), (1, a_rung), (1, 2 * a_rung)]
    assert [(o.score, o.curve) for o in found] == [(o.score, o.curve) for o in expected]


class _Gone(Company, Halving):
    """The device of the data disappears at a rung: its tensors have no content any more."""

    def stops(self, epoch: int, epochs: int, curves: Sequence[Curve]) -> set[int]:
        for training in self.begun:
            training.rows.tensors.update({name: each.to("meta") for name, each in training.rows.tensors.items()})
        return Halving.stops(self, epoch, epochs, curves)

    def _begin(self, evaluation: Evaluation) -> None:
        Company._begin(self, evaluation)
        self.begun = [*getattr(self, "begun", ()), *evaluation.trainings]


def test_a_device_that_disappears_between_rungs_is_an_error_of_each_under_way():
    company = _Gone([Fold(blobs(), np.arange(300), np.arange(300, 400))], Budget(4), 0, BUILTIN)
    company.pruner, company.factor, company.first = company, 2, 1
    found = company.outcomes([Candidate(architecture("chain", w)) for w in (8, 16, 24)])
    assert sorted(each.status for each in found) == ["complete", "error", "error"]  # one had stopped at the rung
    assert all(each.message for each in found if each.status == "error")
    assert free_memory(torch.device("cuda", 63)) is None  # nobody is there to ask


def test_a_device_that_disappears_between_trials_is_an_error_of_each_candidate():
    gone = Fold(blobs(), np.arange(300), np.arange(300, 400), torch.device("cuda", 63))
    found = train_on([gone], [MLP, MLP], 3, seed=0)
    assert [each.status for each in found] == ["error", "error"]
    assert all(each.message for each in found)


def test_time_that_is_over_in_company_is_a_timeout_of_each():
    data, split = blobs(), Split(np.arange(300), np.arange(300, 400))
    found = outcomes(data, split, *[MLP] * 3, seconds=1e-6)
    assert {each.status for each in found} == {"timeout"}


@pytest.mark.parametrize("value", [math.nan, 3e38, -3e38])
def test_numbers_that_are_missing_or_huge_are_trained_on(value: float):
    data = blobs()
    x = data.inputs["numeric"].copy()
    x[::7, 1] = value
    strange = Dataset(data.name, data.kind, data.task, {"numeric": x}, data.y, data.classes)
    assert outcomes(strange, Split(np.arange(300), np.arange(300, 400)))[0].status == "complete"


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_a_validation_target_beyond_float32_is_said_to_be_one(value: float):
    """A search refuses it before anything is trained; a training says what was not finite."""
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    y = x[:, 0].copy()
    y[50] = value
    data = Dataset("far", "tabular", "regression", {"numeric": x}, y)
    found = outcomes(data, Split(np.arange(40), np.arange(40, 60)))[0]
    assert found.status == "diverged"
    assert "the score on validation rows was not finite" in found.message
    with pytest.raises(DataError, match=r"within 1e\+17 .*, but one of 'y' lies 3e\+38 away"):
        nas.search((x[:50], y[:50]), validation=(x[50:], y[50:]), trials=1, history=None)
    assert outcomes(data, Split(np.r_[:40, 50], np.arange(40, 50)))[0].status == "complete"


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_inputs_and_targets_that_are_no_numbers_never_reach_training(value: float):
    x, y = np.zeros((20, 2), np.float32), np.zeros(20, np.float32)
    x[3, 1] = value
    with pytest.raises(DataError, match="finite"):
        Dataset("strange", "tabular", "regression", {"numeric": x}, y)
    y[3] = math.nan
    with pytest.raises(DataError):
        Dataset("strange", "tabular", "regression", {"numeric": np.zeros((20, 2), np.float32)}, y)
