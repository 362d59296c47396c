"""Numbers as people and other programs read them, wherever something is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def short(value: float, digits: int = 3) -> str:
    """Returns a number with ``digits`` decimals, without a zero in front of the point: .981."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def in_bytes(count: float) -> str:
    """Returns bytes as bytes, kB or MB."""
    if count < 1e3:
        return f"{count:.0f} B"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def in_time(seconds: float) -> str:
    """Returns seconds as seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def counted(count: int, noun: str) -> str:
    """Returns a number of things in words: 1 trial, 2,000 trials; the noun is one that takes an s, or ends in a y."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def one_line(text: str) -> str:
    """Returns ``text`` in one line that steers no terminal: what cannot be printed is written out, as \\n or \\x1b."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def finite(value: Any) -> Any:
    """Returns ``value`` with numbers JSON has no word for (NaN, infinity) as None and numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "dtype"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
