"""When a search is over, and what is said where it was over before anything could be trained."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nas.alarm import TimeOver, alarm
from nas.errors import SearchError
from nas.loop.arguments import check_time

LONGEST = 1e12  # seconds; whatever is longer is as long


class Limit:
    """The time of one call, from when this is made.

    Args:
        seconds: How long it may take, None for no limit.

    Attributes:
        end: ``time.monotonic()`` at which the call is over.
    """

    def __init__(self, seconds: float | None) -> None:
        check_time("seconds", seconds)
        self.seconds = None if seconds is None else float(min(seconds, LONGEST))
        self._began = time.monotonic()
        self.end = math.inf if self.seconds is None else self._began + self.seconds

    @property
    def left(self) -> float:
        """Seconds until the end, >= 0."""
        return max(0.0, self.end - time.monotonic())

    @property
    def gone(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def share(self, part: float) -> float | None:
        """Returns the ``time.monotonic()`` at which a part of what is left is over, None for no limit."""
        return None if self.seconds is None else time.monotonic() + part * self.left

    def less(self, spent: float) -> None:
        """Brings the end nearer by the seconds that earlier calls spent."""
        self.end -= spent

    @contextmanager
    def preparing(self, what: str, advice: str) -> Iterator[None]:
        """Breaks off what is inside at the end of the time.

        Raises:
            SearchError: The time was over; it says ``what`` was done, and what may help besides more seconds.
        """
        try:
            with alarm(self.end):
                yield
        except TimeOver:
            raise SearchError(
                f"the {self.seconds:g} seconds were over while {what}, before a candidate could be trained; allow more "
                f"seconds, or pass {advice}."
            ) from None
