"""An alarm: what runs in this process is broken off at a time, where the system can do that.

It can in the main thread of a POSIX system, unless somebody else waits for SIGALRM. Python code is broken off wherever
it is; a call into compiled code first has to return. An import first has to end, because a library that was loaded by
half cannot be loaded again, and so has a statement to a database: SQLAlchemy gives up a connection that was broken off,
and with it a history in memory.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.2  # seconds until it rings again, for whoever did not listen
FARTHEST = 1e8  # seconds ahead beyond which it is not set: timers have an end


class TimeOver(BaseException):
    """The alarm rang. It is no Exception, so that nobody takes it for a failure of a candidate."""


@contextmanager
def alarm(at: float) -> Iterator[None]:
    """Raises TimeOver inside once ``time.monotonic()`` is ``at``, and again until that ends what is inside."""
    if at - time.monotonic() > FARTHEST or not _can_ring():
        yield
        return
    on = True

    def ring(number: int, frame: FrameType | None) -> None:
        tidying = isinstance(sys.exc_info()[1], TimeOver)  # what it broke off before is under way to its end
        if on and not tidying and not _must_end(frame):
            raise TimeOver

    before = signal.signal(signal.SIGALRM, ring)
    try:  # two, because it may ring on the way out
        try:
            signal.setitimer(signal.ITIMER_REAL, max(at - time.monotonic(), 1e-3), AGAIN)
            yield
        finally:
            on = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _can_ring() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    )


def _must_end(frame: FrameType | None) -> bool:
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib.") or f"{os.sep}sqlalchemy{os.sep}" in file:
            return True
        frame = frame.f_back
    return False
