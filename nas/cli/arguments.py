"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.dataset import Dataset

TEST_FRACTION = 0.2  # set aside by `nas search`, scored once
Commands = Any  # what argparse's add_subparsers returns, which has no public name


def add_data(command: argparse.ArgumentParser) -> None:
    """Declares the data, what is to be predicted, and the history to learn from."""
    command.add_argument("data", help=".csv, .parquet, .npz, a folder of images, or digits, iris, wine, ...")
    command.add_argument("--target", help="the column to predict")
    command.add_argument("--groups", metavar="COLUMN", help="whose rows stay on one side of every split")
    command.add_argument("--time", metavar="COLUMN", help="validate on rows that are later than those trained on")
    command.add_argument("--weights", metavar="COLUMN", help="how much a row counts")
    command.add_argument("--validation", metavar="DATA", help="rows to validate every candidate on")
    command.add_argument("--test", metavar="DATA", help="rows to set aside instead of a fifth of DATA")
    command.add_argument(
        "--task", metavar="TASK", help="classification or regression, found from the target unless given"
    )
    command.add_argument("--kind", metavar="KIND", help="tabular, image or series, found from the shape unless given")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--history", metavar="PLACE", help="learn from this path or URL; 'none' learns from nothing")


def loaded(options: argparse.Namespace) -> Dataset:
    """Returns the data that the arguments of ``add_data`` name."""
    from nas.dataset import load

    names = ("target", "task", "kind", "groups", "time", "weights", "validation", "test")
    return load(options.data, **{name: getattr(options, name) for name in names})


def history_of(options: argparse.Namespace) -> Any:
    """Returns what ``history=`` of the library takes."""
    from nas.metadataset.histories import YOURS

    return YOURS if options.history is None else None if options.history == "none" else options.history
