"""What can go wrong with one candidate, and how it is told apart. What becomes of it belongs to ``train``."""

from __future__ import annotations

import torch

from nas.errors import NasError, SearchError

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class DivergedError(NasError, ArithmeticError):
    """The loss of a candidate is not finite any more."""


class OutOfTimeError(NasError, TimeoutError):
    """A candidate has used up its seconds."""


class OutOfMemoryError(NasError, MemoryError):
    """A candidate would not fit into the memory of its device."""


def device_of(name: str) -> torch.device:
    """Returns the device of a name such as "cpu" or "cuda:1", initialised; SearchError where it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SearchError(f'a device is named "cpu", "cuda" or "cuda:1", but got {name!r}.') from None
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise SearchError(f'the device {name!r} is not there: torch sees {there} CUDA devices; use "cpu".')
        torch.cuda.init()
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an exception says that memory ran out, on whichever device and in whichever words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
