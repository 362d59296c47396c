"""What a candidate needs of memory: estimated before it is built, measured where the device keeps count.

Here belongs the arithmetic of bytes. What becomes of a candidate that does not fit belongs to ``company``.
"""

from __future__ import annotations

import gc
import math
from contextlib import suppress
from dataclasses import dataclass

import torch

from nas.architecture import Architecture
from nas.model import Count, present
from nas.training.faults import OutOfMemoryError
from nas.training.learn import BATCHES_BYTES
from nas.training.recipe import watched_rows
from nas.training.resident import Fold

PARKED = 5  # numbers a parameter while others are trained: its weight, what is stepped and two moments, the best weight
MOVING = 14  # and while it is trained: gradient, rate, and copies of what it began and of what it ends with
TARGETS = 3  # copies of the targets while an epoch begins


@dataclass(frozen=True)
class Need:
    """Bytes that a training takes at most: ``parked`` while others are trained, ``moving`` while it is itself.

    An estimate of what is in use, within about a third from ten MiB on. The data, which all candidates share, is not in
    it, nor what libraries and the allocator keep for themselves: a process that trains convolutions was seen to peak at
    1.5 to 2 times as much, as glibc keeps what was freed (1.2 times with MALLOC_MMAP_THRESHOLD_=131072).
    """

    parked: int
    moving: int

    def of(self, trainings: int, abreast: int) -> int:
        """Returns the bytes of so many trainings at once, of which ``abreast`` are trained side by side."""
        abreast = max(1, min(trainings, abreast))
        return abreast * self.moving + (trainings - abreast) * self.parked


def need_of(counted: Count, architecture: Architecture, fold: Fold, batch: int) -> Need:
    """Returns what a training on a fold takes, where ``counted`` is of a step on ``batch`` of its rows."""
    rows, outputs = len(fold.train_rows), fold.signature.outputs
    names = fold.views(present(architecture, fold.signature))
    views = 4 * sum(math.prod(fold.signature.inputs[name]) for name in names)
    watched = watched_rows(rows)
    copied = watched * views if fold.validation_rows is not None and len(fold.validation_rows) > watched else 0
    parked = 4 * PARKED * counted.parameters + copied
    batches = min(rows * views, max(BATCHES_BYTES, batch * views))
    targets = 4 * TARGETS * rows * outputs if fold.data.task == "classification" else 4 * rows
    step = counted.memory - 20 * counted.parameters
    return Need(parked, 4 * MOVING * counted.parameters + copied + batches + targets + step)


def check_memory(need: int, counted: Count, device: torch.device, most: int | None = None) -> None:
    """Raises OutOfMemoryError where ``need`` bytes (a candidate's), or the weights on their way there, would not fit.

    ``most`` is what may be used, by default what is free.
    """
    free = free_memory(device) if most is None else most
    if free is not None and need > free:
        raise OutOfMemoryError(
            f"training needs about {need / 2**20:,.0f} MiB, but {free / 2**20:,.0f} are free; the network has "
            f"{counted.parameters:,} parameters."
        )
    host = free_memory(torch.device("cpu")) if device.type != "cpu" else None  # networks are built there
    if host is not None and 4 * counted.parameters > host:
        raise OutOfMemoryError(
            f"{counted.parameters:,} parameters are built in the host's memory, where {host / 2**20:,.0f} MiB are free."
        )


def free_memory(device: torch.device) -> int | None:
    """Returns the bytes a new candidate may use on a device, None where the system does not say."""
    if device.type == "cuda":
        try:
            free, _ = torch.cuda.mem_get_info(device)
        except (RuntimeError, AssertionError):  # of a device that is gone: who is trained on it will say so
            return None
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def release_memory(device: torch.device) -> None:
    """Gives memory back that nothing refers to."""
    gc.collect()
    if device.type == "cuda":
        with suppress(RuntimeError):  # of a device that is gone
            torch.cuda.empty_cache()


def forget_peak(device: torch.device) -> None:
    """Lets ``peak_memory`` begin anew."""
    if _counts(device):
        with suppress(RuntimeError, AssertionError):  # of a device that is gone
            torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Returns the most bytes since ``forget_peak`` above those still in use, None where the device keeps no count."""
    if _counts(device):
        with suppress(RuntimeError, AssertionError):  # of a device that is gone
            return max(0, torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device))
    return None


def _counts(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_available()
