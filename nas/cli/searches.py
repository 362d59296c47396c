"""The search that a command is about: named in full or by how its name begins, or the latest one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nas.errors import HistoryError, nearest

if TYPE_CHECKING:
    from nas.metadataset import MetaDataset


def add_place(command: argparse.ArgumentParser) -> None:
    """Declares where the history is that a command looks into."""
    command.add_argument("--history", metavar="PLACE", help="a path or database URL (your own history)")


def opened(options: argparse.Namespace) -> MetaDataset:
    """Returns the history that a command looks into; one that was named must be there."""
    from nas.metadataset import MetaDataset

    return MetaDataset.open(options.history, read_only=options.history is not None)


def names_of(history: MetaDataset) -> list[str]:
    """Returns the names of all searches, the latest last; those of which only records are known come first."""
    described = [info.name for info in history.searches()]
    return [name for name in history.counts() if name not in set(described)] + described


def one_of(names: list[str], wanted: str | None) -> str:
    """Returns the name that is ``wanted`` or the only one that begins so, by default the last.

    Raises:
        HistoryError: Where none or several are meant.
    """
    if not names:
        raise HistoryError("no search is on record here yet; `nas search DATA` makes one, or name another --history.")
    if wanted is None:
        return names[-1]
    matches = [wanted] if wanted in names else [name for name in names if name.startswith(wanted)]
    if len(matches) != 1:
        raise HistoryError(
            f"one search must be named, but {wanted!r} begins {len(matches)} of {len(names)};"
            f"{nearest(wanted, names)} `nas history list` shows them."
        )
    return matches[0]
