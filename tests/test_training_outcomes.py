"""What goes wrong with a candidate is its outcome and the next is fine; what the caller did wrong is refused."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trainings import MLP, blobs, chain, linear, one, plain, waves

from nas.dataset import Dataset
from nas.errors import SearchError
from nas.operations import BUILTIN, Operation
from nas.record import Fidelity
from nas.training import Candidate, DivergedError, Halving, OutOfTimeError, fit, train
from nas.training.faults import is_out_of_memory


class Failing(nn.Module):
    """Raises what it is given at a call in training."""

    def __init__(self, error: BaseException, at: int = 2) -> None:
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
        (RuntimeError(), "error", "RuntimeError: no message"),
        (SystemExit(3), "error", "SystemExit: 3"),
    ],
)
def test_what_a_candidate_raises_becomes_its_outcome_and_the_next_is_fine(
    error: BaseException, status: str, message: str
):
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
    assert time.perf_counter() - start < 60  # all of it would take minutes
    assert found.status == "timeout"
    assert "epoch" in found.message
    with pytest.raises(OutOfTimeError):
        fit(Candidate(MLP), blobs(), np.arange(300), epochs=1000, seed=0, seconds=0.0)


def test_who_was_in_time_for_a_rung_is_not_stopped_for_want_of_the_others():
    """Three of four are quick, the time is over before the fourth gets to the rung: nothing is said of any."""
    data = blobs()
    candidates = [Candidate(chain(linear(width))) for width in (8, 16, 32)] + [Candidate(chain("slow"))]
    slow = Operation("slow", 1, lambda shape: Slow(), lambda shape: shape)
    known = {"operations": BUILTIN | {"slow": slow}, "pruner": Halving(2, 20), "seed": 0}
    until = time.monotonic() + 2.5
    found = train(candidates, data, data.splits(1, 0), Fidelity(40, 10**6, 1), until=until, **known)
    assert [outcome.status for outcome in found] == ["timeout"] * 4


def test_who_is_done_as_the_time_ends_is_kept():
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                time.sleep(max(0.0, until + 0.05 - time.monotonic()))
            return x

    data = blobs()
    late = Operation("late", 1, lambda shape: Late(), lambda shape: shape)
    one(MLP, data)  # the first training of a process takes longer
    until = time.monotonic() + 2.5
    known = {"operations": BUILTIN | {"late": late}, "until": until, "pruner": Halving(2), "seed": 0}
    (found,) = train([Candidate(chain("late"))], data, data.splits(1, 0), Fidelity(1, 10**6, 1), **known)
    assert time.monotonic() > until
    assert found.status == "complete"


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


def test_seconds_in_company_are_shared_as_the_same_trainings_take_them_alone():
    """A deep narrow network has a thirtieth of the arithmetic of a wide one and takes about as long."""
    data = blobs(600)
    candidates = [Candidate(chain(linear(512), "relu")), Candidate(chain(*[linear(6), "mish"] * 5))]
    splits, fidelity = data.splits(2, 0), Fidelity(24, 10**6, 2)
    train(candidates, data, splits, fidelity, seed=0)
    alone = [train([each], data, splits, fidelity, seed=0)[0].cost for each in candidates]
    wide, deep = (found.cost for found in train(candidates, data, splits, fidelity, seed=0))
    assert deep.flops < wide.flops / 10
    expected = alone[1].seconds / (alone[0].seconds + alone[1].seconds)
    assert expected / 2 < deep.seconds / (wide.seconds + deep.seconds) < 1 - (1 - expected) / 2
