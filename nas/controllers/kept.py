"""Lessons kept as files, so that the records of a dataset are read again only where they, or this code, have changed.

One file a dataset and a space: JSON under a line with a digest of it and of all that it was made from and with (the
dataset with its records, the space, the code, the numerical libraries). So whoever finds the line right has what making
the lessons again would give, bit for bit; whatever else lies there is made again, and written over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from nas.controllers.files import content, put, worked_with
from nas.controllers.lesson import Lesson
from nas.metadataset.lazy import digest_of_past

if TYPE_CHECKING:
    from nas.controllers.base import Problem
    from nas.record import PastDataset

FORMAT = 2
MOST_BYTES = 2**28  # of all files together, the latest: a record is about a hundred bytes
SUFFIX = ".lessons"

Lessons: TypeAlias = "tuple[list[Lesson], str]"  # lessons, without their names, or why there are none


class Kept:
    """What the datasets of a problem teach, kept in its folder of priors.

    A space that ``within`` limits takes over other choices than one that is not: nothing is kept for it.
    """

    def __init__(self, problem: Problem) -> None:
        self._folder = None if problem.space.limited else problem.priors
        self._space = (problem.space.name, problem.space.fingerprint)
        self._with = [] if self._folder is None else [FORMAT, *worked_with()]
        self._written = False

    def of(self, past: PastDataset, part: str, make: Callable[[], Lessons]) -> Lessons:
        """Returns what ``make`` does, as kept if it is, and keeps it; ``part`` says which lessons of the dataset."""
        if self._folder is None:
            return make()
        own = repr((*self._space, past.info.fingerprint, part)).encode()
        path = self._folder / f"{hashlib.sha256(own).hexdigest()[:32]}{SUFFIX}"
        key = repr((own, digest_of_past(past), self._with)).encode()
        with suppress(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            taught = _read(content(path), key, past)
            with suppress(OSError):
                os.utime(path)
            return taught
        taught = make()
        with suppress(OSError):  # a folder that cannot be written costs the next search its time
            self._folder.mkdir(parents=True, exist_ok=True)
            put(path, _written(taught, key))
            self._written = True
        return taught

    def thin(self) -> None:
        """Removes what was not used for longest, as far as there is too much."""
        if self._folder is None or not self._written:
            return
        total = 0
        with suppress(OSError):  # of another search, say, that does the same
            found = [(path, path.stat()) for path in self._folder.glob(f"*{SUFFIX}")]
            for path, known in sorted(found, key=lambda each: each[1].st_mtime, reverse=True):
                total += known.st_size
                if total > MOST_BYTES:
                    path.unlink(missing_ok=True)


def _written(taught: Lessons, key: bytes) -> bytes:
    lessons, reason = taught
    words = {"lessons": [lesson.to_dict() for lesson in lessons], "reason": reason}
    text = json.dumps(words, allow_nan=False, separators=(",", ":")).encode()
    return _digest(text, key) + b"\n" + text


def _read(content: bytes, key: bytes, past: PastDataset) -> Lessons:
    """What ``_written`` wrote; ValueError, KeyError, IndexError, TypeError or AttributeError where it did not."""
    digest, _, text = content.partition(b"\n")
    if digest != _digest(text, key):
        raise ValueError("it is of other records, or was changed")
    words = json.loads(text)
    return [Lesson.from_dict(past, each) for each in words["lessons"]], str(words["reason"])


def _digest(text: bytes, key: bytes) -> bytes:
    return hashlib.sha256(key + text).hexdigest().encode()
