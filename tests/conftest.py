"""Shared fixtures: a history of each test's own, one thread, and the same examples and random numbers in every run."""

from __future__ import annotations

import os
import random
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile(  # how busy the machine is decides no test
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def private_history(tmp_path, monkeypatch):
    """Points the default history at a file of this test's own."""
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "history.db"))


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Lets unseeded draws depend on no test that ran before in this process: which ones those are is chance."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
