"""What tests ask of processes: of their own, and of those that they did not start themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
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


def open_files() -> list[str]:
    """Returns the names of what this process has open, none where there is no /proc."""
    names = []
    for descriptor in (PROC / "self" / "fd").glob("*"):
        with suppress(OSError):  # it is closed while it is looked up
            names.append(os.readlink(descriptor))
    return names


def until(true: Callable[[], Any], seconds: float = 300.0) -> None:
    """Waits for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
