"""The training recipe: what a candidate may set, batch size, learning rate over time, seeds, precision.

Here belong numbers and their rules. Which parameter gets which share of the learning rate belongs to ``optimizer``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache

import numpy as np

from nas.architecture import Architecture
from nas.errors import SearchError, nearest
from nas.operations import Value

ENGINE = "7"
"""Part of every evaluation key: raised whenever the same candidate would get another score."""

_RANGES = {
    "learning_rate": (0.0, 100.0),
    "weight_decay": (0.0, 100.0),
    "dropout": (0.0, 0.95),
    "label_smoothing": (0.0, 0.99),
    "shift": (0.0, 0.5),
    "flip": (0.0, 0.5),
}


@dataclass(frozen=True)
class Candidate:
    """What is trained: an architecture, and the settings of its training (any of those ``Recipe`` names)."""

    architecture: Architecture
    settings: Mapping[str, Value] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Recipe:
    """Settings of a training. The learning rate is the one of a network whose weights have a fan-in of 1.

    Images alone may be moved in training: by up to ``shift`` of their height and width, and a share ``flip`` of them is
    mirrored left to right. Defaults: RealMLP (Holzmueller et al. 2024), with less dropout and no label smoothing.
    """

    learning_rate: float = 0.03
    weight_decay: float = 0.02
    dropout: float = 0.1
    label_smoothing: float = 0.0
    shift: float = 0.0
    flip: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise SearchError(f"`{low} <= {name} <= {high}` must hold, but got {name}={value!r}.")

    @classmethod
    def of(cls, settings: Mapping[str, Value]) -> Recipe:
        """Returns the recipe with these settings, SearchError where one is unknown or out of range."""
        known = [each.name for each in fields(cls)]
        for name in settings:
            if name not in known:
                raise SearchError(
                    f"{name!r} is not a training setting;{nearest(name, known)} the settings are {', '.join(known)}."
                )
        return cls(**settings)  # type: ignore[arg-type]


def batch_size(n: int) -> int:
    """Returns the rows of one step for ``n`` training rows: 128 to 8k, 256 to 32k, then 512; below 512 a quarter.

    From 32 rows on it is a multiple of 16, so that rows of memory are aligned.
    """
    if n < 32:
        return max(1, min(n, 8))
    if n < 512:
        return max(16, n // 64 * 16)
    return 128 if n <= 8_192 else 256 if n <= 32_768 else 512


def watched_rows(n: int) -> int:
    """Returns the validation rows looked at after each epoch at most, for ``n`` training rows: so many cost little."""
    return max(1_000, n // 2)


def coslog4(step: int, steps: int) -> float:
    """Returns the factor of the learning rate at ``step`` of ``steps``, 0 to 1: four cosine cycles, each twice as long.

    (1 - cos(2 pi log2(1 + 15 t))) / 2 at the middle t of the step (RealMLP).
    """
    t = (step + 0.5) / steps
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * t)))


def derive(seed: int, *path: int) -> int:
    """Returns the seed of one purpose (a split, an epoch, ...), 63 bits, from a seed and numbers that name it."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def precision(kind: str, device: str) -> str:
    """Returns the number format forward passes are trained in: bfloat16 for images where the device computes in it.

    That is on CUDA, and on CPUs that are faster in it; float32 elsewhere.
    """
    native = device.startswith("cuda") or (device.startswith("cpu") and cpu_has_bfloat16())
    return "bfloat16" if kind == "image" and native else "float32"


@cache
def cpu_has_bfloat16() -> bool:
    """Returns whether this processor is faster in bfloat16, where Linux says what it can."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return faster_in_bfloat16(lines.read())
    except OSError:
        return False


def faster_in_bfloat16(cpuinfo: str) -> bool:
    """Returns whether a processor that Linux describes so multiplies more bfloat16 than float32 numbers in a second.

    Intel's ``avx512_bf16`` gains nothing without AMX: products of 1024 x 1024 numbers took 1.7 times as long as in
    float32 (Xeon of 2023, oneDNN 3.12). AMD's cores have full-rate units for it.
    """
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in cpuinfo)
