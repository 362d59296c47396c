"""Where evaluations run: in this process, or in local ones that may hang or die without harm.

Here belongs how calls are handed out and what becomes of them. What a call does, and in which order results are told to
a controller, is the caller's business. Processes are spawned, compute on one thread each, and are sent what all calls
share once.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from nas.errors import SearchError

Call = Callable[[Any, Any], Any]
"""(what all calls share, item) -> result; of a module, so that another process can import it."""

STARTING = 300.0  # seconds a process may take to load before it counts as hanging
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Done:
    """What a call returned."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """Why there is no result: the call raised (``error``), took too long (``timeout``), or its process ``died``."""

    kind: str
    message: str


class Executor(Protocol):
    """Runs calls; results come as they are ready, each with the number of its item."""

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Done | Failed]]:
        """Yields (number, result) for every item, in whichever order."""
        ...


class Here:
    """Calls one after the other in this process; one that hangs is not ended."""

    def __init__(self, call: Call, shared: Any = None) -> None:
        self._call, self._shared = call, shared

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Done | Failed]]:
        """Yields results in order."""
        for number, item in enumerate(items):
            yield number, _result(self._call, self._shared, item)


class Processes:
    """Calls in ``workers`` processes of this machine, for use in a ``with`` block.

    Args:
        call: A function of a module.
        shared: First argument of every call.
        workers: Processes, >= 1.
        seconds: What a call may take; its process is ended after that, and another takes its place.
    """

    def __init__(self, call: Call, shared: Any = None, *, workers: int, seconds: float | None = None) -> None:
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise SearchError(f"`workers >= 1` must be a whole number, but got {workers=}.")
        if seconds is not None and not seconds > 0:
            raise SearchError(f"`seconds > 0` must hold, but got {seconds=}; leave it out for no limit.")
        try:
            pickle.dumps((call, shared))
        except Exception as error:
            raise SearchError(
                f"another process cannot be sent what it needs ({error}); define operations in a module, not as a "
                "lambda or inside a function, or use one worker."
            ) from error
        self._call, self._shared, self._seconds = call, shared, seconds
        self._workers: list[_Worker | None] = [None] * workers

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.end()
        self._workers = [None] * len(self._workers)

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Done | Failed]]:
        """Yields results as they are ready."""
        waiting = deque(enumerate(items))
        for place in range(min(len(self._workers), len(items))):  # so that they load at the same time
            self._workers[place] = self._workers[place] or _Worker(self._call, self._shared)
        while waiting or any(worker is not None and worker.busy for worker in self._workers):
            for place, worker in enumerate(self._workers):
                if waiting and (worker is None or not worker.busy):
                    if worker is None or not worker.alive:
                        worker = self._workers[place] = _Worker(self._call, self._shared)
                    worker.begin(*waiting.popleft(), self._seconds)
            busy = [worker for worker in self._workers if worker is not None and worker.busy]
            left = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], max(0.0, min(left, 3600.0)))
            for worker in busy:
                if worker.connection in ready or time.monotonic() >= worker.deadline:
                    yield worker.finish(self._seconds)
            self._workers = [w if w is not None and w.alive else None for w in self._workers]


class _Worker:
    """One process and the call it is busy with."""

    def __init__(self, call: Call, shared: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        with _one_thread_each():
            self._process = context.Process(target=_serve, args=(theirs, call, shared), daemon=True)
            self._process.start()
        theirs.close()
        self._number: int | None = None
        self._ready = False
        self.deadline = float("inf")

    @property
    def busy(self) -> bool:
        """Whether a result is awaited."""
        return self._number is not None

    @property
    def alive(self) -> bool:
        """Whether it can be given another call."""
        return self._process.is_alive() and not self.connection.closed

    def begin(self, number: int, item: Any, seconds: float | None) -> None:
        """Sends a call; its time runs from when the process has loaded."""
        if not self._ready and self.connection.poll(STARTING):
            with suppress(EOFError):
                self._ready = bool(self.connection.recv())
        self._number = number
        self.deadline = float("inf") if seconds is None else time.monotonic() + seconds
        try:
            self.connection.send(item)
        except OSError:
            self.deadline = 0.0

    def finish(self, seconds: float | None) -> tuple[int, Done | Failed]:
        """Returns the result that is there, or the failure that there is none."""
        assert self._number is not None
        number, self._number = self._number, None
        if self._ready and self.connection.poll():
            try:
                return number, self.connection.recv()
            except EOFError:
                pass
        self._process.join(0.5)
        code = self._process.exitcode
        self.end()
        if code is None:
            return number, Failed("timeout", f"it was ended after {seconds:g} seconds.")
        return number, Failed("died", f"its process ended with code {code}; it may have run out of memory.")

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, call: Call, shared: Any) -> None:
    """What a process does: takes items and sends results until the connection closes."""
    connection.send(True)
    while True:
        try:
            item = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        connection.send(_result(call, shared, item))


def _result(call: Call, shared: Any, item: Any) -> Done | Failed:
    try:
        return Done(call(shared, item))
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        return Failed("error", f"{type(error).__name__}: {text}")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside compute on one thread: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
