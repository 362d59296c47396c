"""Rows of a benchmark's result: what was measured, its spread, what was demanded, and why it falls short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Row = dict[str, Any]
LISTED = 10


def row(name: str, values: Sequence[float], demanded: float) -> Row:
    """Returns the row of a case: the median of ``values``, the least and the greatest, how many they are."""
    return {
        "case": name,
        "value": round(float(np.median(values)), 3),
        "spread": [round(float(min(values)), 3), round(float(max(values)), 3)],
        "n": len(values),
        "demanded": demanded,
    }


def unmeasured(name: str, demanded: float) -> Row:
    """Returns the row of a case that was not measured."""
    return {"case": name, "value": "not measured", "spread": None, "n": 0, "demanded": demanded}


def operations(call: Callable[[], object]) -> dict[str, list[float]]:
    """Returns torch's operations that take most time in a call: the share of that of all operations, and the calls."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    found = [each for each in profiler.key_averages() if each.device_type == DeviceType.CPU]
    found.sort(key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in found)
    return {each.key: [round(each.self_cpu_time_total / total, 3), each.count] for each in found[:LISTED]}
