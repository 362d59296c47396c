"""Files of what was worked out from history: whole or not at all, and known by what they were worked out with."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

LARGEST = 2**28  # bytes of one file that are looked at
WORKING = ("controllers", "encoding.py", "space", "surrogate")  # the code that decides what is worked out


def content(path: Path) -> bytes:
    """Returns what a file holds; ValueError where that is more than ``LARGEST`` bytes, or no file: a pipe may hang."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as file:
        found = file.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    return found


def put(path: Path, content: bytes) -> None:
    """Writes a file, in place of the one of its name; whoever reads it finds the one or the other."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def worked_with() -> list[object]:
    """Returns what decides a result beside what it is worked out from: this code; for last bits, the arithmetic."""
    return [_code(), *_arithmetic()]


def require(holds: bool | np.bool_, otherwise: str) -> None:
    """Raises ValueError with ``otherwise`` unless it ``holds``."""
    if not holds:
        raise ValueError(otherwise)


@cache
def _code() -> str:
    """A digest of the code: what another version worked out is not taken for what this one would."""
    digest = hashlib.sha256()
    for name in WORKING:
        place = resources.files("nas") / name
        files = [place] if place.is_file() else sorted(place.iterdir(), key=lambda file: file.name)
        for file in files:
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _arithmetic() -> list[object]:
    """Processor, libraries, number of threads."""
    import scipy
    from threadpoolctl import threadpool_info

    blas = [
        (each["internal_api"], each["version"], each.get("architecture", ""), each["num_threads"])
        for each in threadpool_info()
        if each["user_api"] == "blas"
    ]
    return [platform.system(), platform.machine(), np.__version__, scipy.__version__, sorted(map(str, blas))]
