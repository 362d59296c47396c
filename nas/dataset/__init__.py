"""Datasets: the frozen value, its splits, reading it from anywhere, and reading new rows the same way."""

from __future__ import annotations

from nas.dataset.rows import encode_rows
from nas.dataset.sources import BUNDLED, load
from nas.dataset.splits import Split
from nas.dataset.value import Dataset

__all__ = ["BUNDLED", "Dataset", "Split", "encode_rows", "load"]
