"""Watches what reads foreign bytes: nothing is executed, it ends soon, and it takes no more than a gigabyte."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

FORBIDDEN = (
    "exec",
    "compile",
    "os.system",
    "os.exec",
    "subprocess.Popen",
    "pickle.find_class",
    "marshal.loads",
    "socket",
)
Found = TypeVar("Found")
SECONDS, KILOBYTES = 10.0, 1_000_000
_seen: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    parsed = event == "compile" and arguments[1:] == ("<unknown>",)  # by ast.literal_eval: a constant, nothing runs
    if _watching and event.startswith(FORBIDDEN) and not parsed:
        _seen.append(f"{event}{arguments!r:.200}")


sys.addaudithook(_hook)


def watch(read: Callable[[], Found]) -> Found:
    """Returns what ``read`` gives, and checks what it does on the way.

    Where something ran it is called again: what it needs is imported once, what stands in a file would run each time.
    """
    found, ran = _watched(read)
    if ran:
        found, ran = _watched(read)
    assert not ran, ran
    return found


def _watched(read: Callable[[], Found]) -> tuple[Found, list[str]]:
    global _watching
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _seen.clear()
    _watching = True
    try:
        found = read()
    finally:
        _watching = False
    assert time.process_time() - began < SECONDS, "it took too long"
    # of the whole process, which other tests may have made large before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < max(KILOBYTES, before + KILOBYTES // 5)
    return found, list(_seen)


def one_sentence(message: str, longest: int = 1500) -> bool:
    """Returns whether a message is one line that a person would read."""
    return bool(message) and len(message.splitlines()) == 1 and len(message) < longest


Edit = tuple[float, str, bytes]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["replace", "insert", "remove", "cut"]), st.binary(max_size=40)),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, changes: list[Edit]) -> bytes:
    """Returns bytes with each change made at its place, a share of the length."""
    for place, action, data in changes:
        at = int(place * len(content))
        if action == "cut":
            content = content[:at] if place > 0.5 else content[at:]
        else:
            rest = content[at + len(data) * (action != "insert") :]
            content = content[:at] + (data if action != "remove" else b"") + rest
    return content
