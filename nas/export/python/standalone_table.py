"""The functions of a stand-alone file for tables; see ``nas.export.python.standalone``."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import torch
from torch import Tensor

from nas.export.python.standalone import Network, load, named

NUMERIC: tuple[str, ...] = ()
CATEGORICAL: dict[str, tuple[str, ...]] = {}
DATES: dict[str, str] = {}


def predict(network: Network, rows: Sequence[Mapping[str, object]]) -> list[dict[str, str | float]]:
    """Returns a prediction for each row, a mapping of column names to values.

    None, NaN and "" are missing; a category that training never saw counts as missing too; other columns are ignored.
    """
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 1024):
            found += [named(output) for output in network(*encode(rows[start : start + 1024])).tolist()]
    return found


def encode(rows: Sequence[Mapping[str, object]]) -> tuple[Tensor, ...]:
    """Returns the tensors that the network takes."""
    inputs = []
    if NUMERIC:
        numbers = torch.tensor([[number(row, name) for name in NUMERIC] for row in rows], dtype=torch.float32)
        inputs.append(numbers.masked_fill(numbers.isinf(), math.nan).reshape(len(rows), len(NUMERIC)))
    if CATEGORICAL:
        codes = {name: {level: code for code, level in enumerate(levels)} for name, levels in CATEGORICAL.items()}
        coded = [[codes[name].get(word(cell(row, name)), -1) for name in CATEGORICAL] for row in rows]
        inputs.append(torch.tensor(coded, dtype=torch.int64).reshape(len(rows), len(CATEGORICAL)))
    return tuple(inputs)


def cell(row: Mapping[str, object], name: str) -> object:
    """Returns a row's value in the column ``name``."""
    if name not in row:
        raise ValueError(f"column {name!r} is missing; the row has {', '.join(map(repr, row))}.")
    return row[name]


def number(row: Mapping[str, object], name: str) -> float:
    """Returns a number of a row, NaN where there is none; ``when.month`` is the month of the date in ``when``."""
    column, _, part = name.rpartition(".")
    if name not in row and column in DATES:
        return date_part(cell(row, column), DATES[column], part)
    value = cell(row, name)
    if isinstance(value, str):
        value = {"true": 1.0, "false": 0.0}.get(value.lower(), value)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def date_part(value: object, form: str, part: str) -> float:
    """Returns the year, month, weekday (Monday 0), hour or days since 1970 of a date, NaN where it is none."""
    if isinstance(value, str):
        try:
            text = value.strip()
            value = datetime.fromisoformat(text) if form == "ISO8601" else datetime.strptime(text, form)
        except ValueError:
            return math.nan
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return math.nan
    if (offset := value.utcoffset()) is not None:
        value = value.replace(tzinfo=None) - offset
    days = (value - datetime(1970, 1, 1)).total_seconds() / 86400.0
    parts = {"year": value.year, "month": value.month, "weekday": value.weekday(), "hour": value.hour, "days": days}
    return float(parts[part])


def word(value: object) -> str:
    """Returns a category as it is written in ``CATEGORICAL``: 3.0 reads as ``3``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def main() -> None:
    """Prints predictions for the rows of a .csv file."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {Path(__file__).name} table.csv")
    with open(sys.argv[1], newline="", encoding="utf-8-sig") as file:
        rows = predict(load(), list(csv.DictReader(file)))
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else ["prediction"])
    writer.writeheader()
    writer.writerows(rows)
