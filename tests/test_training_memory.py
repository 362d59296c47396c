"""What a candidate is said to need of memory, against what the operating system saw its process take."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import blobs, chain, linear

from nas.record import Fidelity
from nas.training import Candidate, train
from nas.training.memory import Need, peak_memory

MEASURE = """
import ctypes
import numpy as np
from trainings import chain, linear
from nas.dataset import Dataset
from nas.record import Fidelity
from nas.training import Candidate, folds_of, train_on

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))

def measured(kind, x, classes, architecture, splits):
    y = np.arange(len(x)) % classes
    name = "numeric" if kind == "tabular" else kind
    data = Dataset("some", kind, "classification", {name: x}, y, tuple(map(str, range(classes))))
    folds = folds_of(data, data.splits(splits, 0), Fidelity(2, 10**6, splits), seed=0)
    train_on(folds, [Candidate(architecture)], 1, seed=0)  # loads what is loaded once, and the data
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak begins anew
    before = status("VmRSS")
    (outcome,) = train_on(folds, [Candidate(architecture)], 1, seed=0)
    assert outcome.status == "complete", outcome
    print(outcome.cost.memory, status("VmHWM") - before, outcome.cost.parameters)

x = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
pixels = np.random.default_rng(0).integers(0, 255, (700, 16, 16, 3)).astype(np.uint8)
measured("tabular", x, 3, chain(*[linear(512), "mish"] * 3), 2)  # one split after the other
measured("tabular", x, 3, chain(*[linear(256), "mish"] * 3), 4)  # side by side
measured("tabular", np.tile(x, (5, 1)), 500, chain(linear(16)), 2)  # mostly targets
measured("image", pixels, 3, chain(*[("conv3x3", {"width": 16}), "relu"] * 3), 2)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured by Linux")
def test_memory_on_record_is_what_the_process_took():
    """With blocks that the allocator gives back at once, so that the peak is of what is in use."""
    given = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17), "OMP_NUM_THREADS": "1"}
    given["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
    done = subprocess.run([sys.executable, "-c", MEASURE], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(found) == 4
    for recorded, taken, parameters in found:
        assert 0.7 < recorded / taken < 1.4, (recorded, taken, parameters)


def test_memory_is_that_of_a_candidate_alone_in_any_company():
    data, wide = blobs(), Candidate(chain(linear(64), "mish"))
    splits, fidelity = data.splits(2, 0), Fidelity(2, 10**6, 2)
    (alone,) = train([wide], data, splits, fidelity, seed=0)
    found = train([Candidate(chain(linear(400), "mish", linear(400))), wide], data, splits, fidelity, seed=0)
    assert found[1].cost == replace(alone.cost, seconds=found[1].cost.seconds)
    assert found[0].cost.memory > 2 * 14 * 4 * found[0].cost.parameters  # all that both splits move


def test_what_is_needed_counts_before_anything_is_built():
    """One byte less than is on record for it is too little."""
    data, wide = blobs(), Candidate(chain(linear(256), "mish", linear(256)))
    splits, fidelity = data.splits(2, 0), Fidelity(1, 10**6, 2)
    (fine,) = train([wide], data, splits, fidelity, seed=0)
    (same,) = train([wide], data, splits, fidelity, seed=0, max_memory=fine.cost.memory)
    (less,) = train([wide], data, splits, fidelity, seed=0, max_memory=fine.cost.memory - 1)
    assert (fine.status, same.status, less.status) == ("complete", "complete", "oom")
    assert "MiB" in less.message
    assert less.cost.memory == fine.cost.memory


def test_trainings_that_wait_need_less():
    need = Need(parked=5, moving=14)
    assert [need.of(3, abreast) for abreast in (0, 1, 2, 3, 9)] == [24, 24, 33, 42, 42]


def test_a_device_that_counts_nothing_is_said_to():
    assert peak_memory(torch.device("cpu")) is None
    assert peak_memory(torch.device("cuda", 63)) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_memory_is_measured():
    data, wide = blobs(), Candidate(chain(linear(2048), "mish", linear(2048)))
    (found,) = train([wide], data, data.splits(2, 0), Fidelity(2, 10**6, 2), seed=0, device="cuda")
    assert 2 * 20 * found.cost.parameters < found.cost.memory < 2 * 80 * found.cost.parameters
