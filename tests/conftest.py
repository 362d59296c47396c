"""Shared fixtures: no test touches the user's history, every test runs on one thread."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(autouse=True)
def private_history(tmp_path, monkeypatch):
    """Points the default history at a file of this test's own."""
    monkeypatch.setenv("NAS_HISTORY", str(tmp_path / "history.db"))
