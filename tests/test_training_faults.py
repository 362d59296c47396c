"""Bad input: every case ends in an outcome that says why, or in a training that is fine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from test_training_company import architecture, blobs
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.dataset import Dataset
from nas.dataset.splits import Split
from nas.errors import DataError
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity, Outcome
from nas.training import Candidate, learn, train

MLP = Candidate(architecture("chain", 16), {})


def outcomes(data: Dataset, split: Split, *candidates: Candidate, **options: Any) -> list[Outcome]:
    return train(candidates or (MLP,), data, [split], Fidelity(3, 10**6, 1), seed=0, **options)


@pytest.mark.parametrize("rows", [1, 2, 7, 33])
def test_fewer_rows_than_a_batch(rows: int):
    assert outcomes(blobs(), Split(np.arange(rows), np.arange(100, 150)))[0].status == "complete"
    assert outcomes(blobs(), Split(np.arange(100), np.arange(100, 101)))[0].status == "complete"


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
    assert found[0].status in ("complete", "diverged")
    assert found[0].score is None or math.isfinite(found[0].score)
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
    sizes = []
    build = learn.Stack.__init__

    def limited(self: Any, networks: Any, *arguments: Any, **options: Any) -> None:
        sizes.append(len(networks))
        if len(networks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        build(self, networks, *arguments, **options)

    monkeypatch.setattr(learn.Stack, "__init__", limited)
    found = outcomes(data, split, *candidates)
    assert sizes == [4, 2, 2]
    assert [each.score for each in found] == [each.score for each in expected]
    monkeypatch.setattr(learn.Stack, "__init__", lambda *a, **o: (_ for _ in ()).throw(MemoryError()))
    assert {each.status for each in outcomes(data, split, *candidates)} == {"oom"}


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


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_inputs_and_targets_that_are_no_numbers_never_reach_training(value: float):
    x, y = np.zeros((20, 2), np.float32), np.zeros(20, np.float32)
    x[3, 1] = value
    with pytest.raises(DataError, match="finite"):
        Dataset("strange", "tabular", "regression", {"numeric": x}, y)
    y[3] = math.nan
    with pytest.raises(DataError):
        Dataset("strange", "tabular", "regression", {"numeric": np.zeros((20, 2), np.float32)}, y)
