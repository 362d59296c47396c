"""Shared fixtures: a history of each test's own, one thread, and the same examples of properties in every run."""

from __future__ import annotations

import os

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
