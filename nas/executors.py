"""Where evaluations run: in this process, or in local ones that may hang or die without harm.

Here belongs how calls are handed out and what becomes of them. What a call does, and in which order results are told to
a controller, is the caller's business. A process is a fresh interpreter that imports modules, not the caller's script,
so that no script needs a guard; it ends when the one that started it does, however that ended.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from nas.alarm import TimeOver, alarm
from nas.errors import SearchError

Notice = Callable[[Any], None]
"""What a call says it is busy with from now on."""
Prepare = Callable[[Any, Notice], Callable[[Any], Any]]
"""what all calls share, and what to say -> function of an item; of a module, so that another process can import it."""

Patience = Callable[[Any, Any], float]
"""(item, what its call last said, None at first) -> seconds it may take from then on."""

STARTING = 300.0  # seconds a process may take to load before it counts as hanging
LISTENING = 1.0  # seconds for what a process said before it ended
STARTS = 3  # processes in a row that may end while they load
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CHILD = """import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from nas.executors import serve
serve(sys.stdin.buffer)
"""


@dataclass(frozen=True)
class Done:
    """What a call returned."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """Why there is no result: the call took too long (``timeout``), or its process ``died``.

    seconds: since it began, or last said what it is ``busy`` with.
    """

    kind: str
    message: str
    seconds: float = field(default=0.0, compare=False)
    busy: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class _Busy:
    what: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


class Executor(Protocol):
    """Runs calls; what a call raises is raised to who waits for results."""

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Done | Failed]]:
        """Yields (item, result) as results are ready; the next item is taken when there is a place for it."""
        ...


class Here:
    """Calls one after the other in this process.

    Args:
        prepare: Called once, before the first call.
        shared: Its argument.
        seconds: (item, None) -> what the call may take, what is prepared for it included. One that takes longer is
            broken off where ``nas.alarm`` can do that, and unless compiled code never returns.
    """

    def __init__(self, prepare: Prepare, shared: Any = None, *, seconds: Patience | None = None) -> None:
        self._prepare, self._shared = prepare, shared
        self._seconds = seconds or _endless
        self._call: Callable[[Any], Any] | None = None

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Done | Failed]]:
        """Yields results in order; an item is taken when the one before has its result."""
        for item in items:
            yield item, self._result(item)

    def _result(self, item: Any) -> Done | Failed:
        began = time.monotonic()
        try:
            with alarm(began + self._seconds(item, None)):
                self._call = self._call or self._prepare(self._shared, lambda what: None)
                return Done(self._call(item))
        except TimeOver:
            return _too_long(time.monotonic() - began)


class Processes:
    """Calls in processes of this machine, for use in a ``with`` block.

    Args:
        prepare: A function of a module; called once in each process.
        shared: Its argument.
        workers: Processes at most, >= 1; they start when there is something to do.
        threads: That each computes on.
        seconds: (item, what it is busy with or None) -> what the call may take from now on, once its process has
            loaded; the process is ended after that, and another takes its place.
        until: ``time.monotonic()`` at which a call whose process has not loaded is given up as well.

    Raises:
        SearchError: Something cannot be sent to another process.
    """

    def __init__(
        self,
        prepare: Prepare,
        shared: Any = None,
        *,
        workers: int,
        threads: int = 1,
        seconds: Patience | None = None,
        until: float = math.inf,
    ) -> None:
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise SearchError(f"`workers >= 1` must be a whole number, but got {workers=}.")
        self._content = pickle.dumps(sys.path) + _sendable((prepare, shared))
        self._most, self._threads = workers, threads
        self._seconds, self._until = seconds or _endless, until
        self._workers: list[_Worker] = []
        self._inbox: queue.SimpleQueue[tuple[_Worker, Any]] = queue.SimpleQueue()
        self._failed_starts = 0

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers = []

    def run(self, items: Iterable[Any]) -> Iterator[tuple[Any, Done | Failed]]:
        """Yields results as they are ready. Who stops waiting for them ends the processes that are busy."""
        try:
            yield from self._results(iter(items))
        finally:
            for worker in [worker for worker in self._workers if worker.busy]:
                self._remove(worker)

    def _results(self, coming: Iterator[Any]) -> Iterator[tuple[Any, Done | Failed]]:
        more = True
        while True:
            while more and sum(worker.busy for worker in self._workers) < self._most:
                try:
                    item = next(coming)
                except StopIteration:
                    more = False
                else:
                    self._idle().begin(item)
            busy = [worker for worker in self._workers if worker.busy]
            if not busy:
                return
            with suppress(queue.Empty):
                left = min(worker.deadline for worker in busy) - time.monotonic()
                worker, message = self._inbox.get(timeout=min(max(left, 0.0), 3600.0))
                while True:  # all that was said while the caller was busy, before anybody counts as late
                    if worker in self._workers:  # else the last words of one that was ended
                        yield from self._heard(worker, message)
                    worker, message = self._inbox.get_nowait()
            for worker in [w for w in self._workers if w.busy and time.monotonic() >= w.deadline]:
                yield from self._late(worker)

    def _idle(self) -> _Worker:
        """A process without a call, where there is none a new one."""
        for worker in self._workers:
            if not worker.busy:
                return worker
        self._workers.append(_Worker(self._content, self._threads, self._seconds, self._until, self._inbox))
        return self._workers[-1]

    def _heard(self, worker: _Worker, message: Any) -> Iterator[tuple[Any, Done | Failed]]:
        if isinstance(message, _Raised):
            raise message.error
        if message is None:
            yield from self._dead(worker)
        elif not worker.ready:
            self._failed_starts = 0
            worker.is_ready()
        elif isinstance(message, _Busy):
            worker.note(message.what)
        else:
            yield worker.finish(), message

    def _dead(self, worker: _Worker) -> Iterator[tuple[Any, Done | Failed]]:
        """Says what became of the call of a process that ended; one that had not loaded leaves it to another."""
        code = self._remove(worker, patience=1.0)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if worker.ready:
            if worker.busy:
                message = f"its process {how}; it may have run out of memory."
                yield worker.finish(), Failed("died", message, worker.seconds, worker.doing)
            return
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            raise SearchError(f"processes for several workers end while they load (one {how}); use one worker.")
        self._idle().begin(worker.finish())

    def _late(self, worker: _Worker) -> Iterator[tuple[Any, Done | Failed]]:
        if not worker.ready and time.monotonic() < self._until:
            raise SearchError(f"a process did not load in {STARTING:g} seconds; use one worker.")
        item = worker.finish()
        self._remove(worker)
        yield item, _too_long(worker.seconds if worker.ready else 0.0, worker.doing)

    def _remove(self, worker: _Worker, patience: float = 0.0) -> int:
        self._workers.remove(worker)
        return worker.end(patience)


class _Worker:
    """One process, and the item it is busy with. What it says arrives in ``inbox``; None is its end."""

    def __init__(
        self, content: bytes, threads: int, seconds: Patience, until: float, inbox: queue.SimpleQueue[Any]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict.fromkeys(_THREADS, str(threads)),
            start_new_session=True,  # Ctrl-C is the caller's alone
        )
        self.busy = self.ready = False
        self.deadline = min(time.monotonic() + STARTING, until)
        self._item: Any = None
        self.doing: Any = None
        self._written = b""
        self._begun, self._seconds = 0.0, seconds
        self._ear = threading.Thread(target=self._listen, args=(content, inbox), daemon=True)
        self._ear.start()
        threading.Thread(target=self._watch, args=(inbox,), daemon=True).start()

    @property
    def seconds(self) -> float:
        """How long ago the last item was sent, or it said what it is doing."""
        return time.monotonic() - self._begun

    def note(self, what: Any) -> None:
        """Takes what it says it is doing."""
        self.doing = what
        self._wait()

    def begin(self, item: Any) -> None:
        """Takes an item, which is sent once the process has loaded."""
        self.busy, self._item, self._written = True, item, _sendable(item)
        if self.ready:
            self._send()

    def is_ready(self) -> None:
        """Notes that the process has loaded."""
        self.ready = True
        if self.busy:
            self._send()

    def finish(self) -> Any:
        """Lets go of the item and returns it."""
        self.busy = False
        return self._item

    def end(self, patience: float = 0.0) -> int:
        """Ends the process and what it started, unless it ends itself, and returns its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # nobody is left in its group
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        code = self._process.wait()
        self._ear.join(LISTENING)
        for pipe in () if self._ear.is_alive() else (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        return code

    def _send(self) -> None:
        self.doing = None
        self._wait()
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which is about to be heard
            self._process.stdin.write(self._written)
            self._process.stdin.flush()

    def _wait(self) -> None:
        self._begun = time.monotonic()
        self.deadline = self._begun + self._seconds(self._item, self.doing)

    def _listen(self, content: bytes, inbox: queue.SimpleQueue[Any]) -> None:
        """In a thread: sends what the process begins with, then passes on what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with suppress(OSError, EOFError, pickle.UnpicklingError):
                self._process.stdin.write(content)
                self._process.stdin.flush()
                while True:
                    inbox.put((self, pickle.load(self._process.stdout)))
        finally:
            inbox.put((self, None))

    def _watch(self, inbox: queue.SimpleQueue[Any]) -> None:
        """In a thread: notices its end, also where something it started holds on to what it spoke through."""
        self._process.wait()
        self._ear.join(LISTENING)
        inbox.put((self, None))


def _endless(item: Any, busy: Any) -> float:
    return math.inf


def _too_long(seconds: float, busy: Any = None) -> Failed:
    return Failed("timeout", f"it was ended after {seconds:.0f} seconds.", seconds, busy)


def serve(stream: io.BufferedReader) -> None:
    """What a process does: items come in ``stream``, results go where its standard output was; it ends with them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an operation prints is no result

    def say(message: object) -> None:
        pickle.dump(message, results)
        results.flush()

    try:
        prepare, shared = pickle.load(stream)
        call = prepare(shared, lambda what: say(_Busy(what)))
    except Exception as error:
        say(_Raised(SearchError(f"a process cannot load what it needs ({_words(error)}); use one worker.")))
        return
    say("ready")
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(stream, items), daemon=True).start()
    while True:
        item = items.get()
        try:
            say(Done(call(item)))
        except Exception as error:
            say(_Raised(_portable(error)))


def _receive(stream: io.BufferedReader, items: queue.SimpleQueue[Any]) -> None:
    """In a thread: takes items as they come, and ends the process, busy or not, when nobody can send more."""
    try:
        while True:
            items.put(pickle.load(stream))
    finally:
        os._exit(0)


class _Pickler(pickle.Pickler):
    """Refuses what another process cannot import."""

    def reducer_override(self, item: Any) -> Any:
        """Passes everything on that is not the script's own."""
        if getattr(item, "__module__", None) == "__main__" and hasattr(item, "__qualname__"):
            raise pickle.PicklingError(f"{item.__qualname__} is defined in the script itself")
        return NotImplemented


def _sendable(what: object) -> bytes:
    """Returns what another process can read."""
    written = io.BytesIO()
    try:
        _Pickler(written).dump(what)
    except Exception as error:
        raise SearchError(
            f"another process cannot be sent what it needs ({_words(error)}); define operations, metrics and pruners "
            "in a module, not in the script itself, as a lambda or inside a function, or use one worker."
        ) from error
    return written.getvalue()


def _portable(error: Exception) -> Exception:
    """Returns an exception that can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(_words(error))
    return error


def _words(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"
