"""An alarm: what runs in this process is broken off at a time, where the system can do that.

It can in the main thread of a POSIX system, unless somebody else waits for SIGALRM. Python code is broken off wherever
it is; a call into compiled code first has to return, and an import to end, because a library that was loaded by half
cannot be loaded again.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.2  # seconds until it rings again, for whoever did not listen


class TimeOver(BaseException):
    """The alarm rang. It is no Exception, so that nobody takes it for a failure of a candidate."""


@contextmanager
def alarm(at: float) -> Iterator[None]:
    """Raises TimeOver inside once ``time.monotonic()`` is ``at``, and again until that ends what is inside."""
    if at == math.inf or not _can_ring():
        yield
        return
    on = True

    def ring(number: int, frame: FrameType | None) -> None:
        if on and not _importing(frame):
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


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            return True
        frame = frame.f_back
    return False
