"""What tests ask of processes that they did not start themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROC = Path("/proc")
needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="looks processes up in /proc")


def alive(pid: int | str) -> bool:
    """Returns whether there is such a process, and it has not ended."""
    try:
        return "(zombie)" not in (PROC / str(pid) / "status").read_text()
    except OSError:  # it ends while it is looked up
        return False


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Waits for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
