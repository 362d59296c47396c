"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import Any

TEST_FRACTION = 0.2  # set aside by `nas search`, scored once
Commands = Any  # what argparse's add_subparsers returns, which has no public name


def add_data(command: argparse.ArgumentParser) -> None:
    """Declares the data, what is to be predicted, and the history to learn from."""
    command.add_argument("data", help=".csv, .parquet, .npz, a folder of images, or digits, iris, wine, ...")
    command.add_argument("--target", help="the column to predict")
    command.add_argument("--task", choices=("classification", "regression"))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--history", metavar="PLACE", help="learn from this path or URL; 'none' learns from nothing")


def history_of(options: argparse.Namespace) -> Any:
    """Returns what ``history=`` of the library takes."""
    from nas.metadataset.histories import YOURS

    return YOURS if options.history is None else None if options.history == "none" else options.history
