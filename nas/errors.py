"""Every error this library raises on purpose; each message states the rule, the value and the way out.

All derive from ``NasError`` and from ``ValueError``, so that either can be caught.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NasError(Exception):
    """Base of every error raised on purpose. What it quotes of a file cannot break its line or steer a terminal."""

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())


class SpaceError(NasError, ValueError):
    """A search space, or a choice in it, breaks a rule."""


class ArchitectureError(NasError, ValueError):
    """An architecture is malformed, or cannot be built for the given data."""


class ShapeError(ArchitectureError):
    """An operation cannot take an input of this shape."""


class DataError(NasError, ValueError):
    """A dataset cannot be read, or cannot be learned from."""


class HistoryError(NasError, ValueError):
    """A history or a pack cannot be read or written."""


class SearchError(NasError, ValueError):
    """A search cannot start, continue or name a result."""


class ExportError(NasError, ValueError):
    """A network cannot be written, or what was written does not agree with it."""


def nearest(word: object, options: Iterable[object]) -> str:
    """Returns `` did you mean 'X'?`` for the closest of ``options``, or an empty string where none is close."""
    names = {str(option).lower(): str(option) for option in options}
    close = difflib.get_close_matches(str(word).lower()[:100], list(names), n=1)  # takes the product of the lengths
    return f" did you mean {names[close[0]]!r}?" if close else ""
