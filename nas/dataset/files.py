"""Table files to DataFrames: .csv (and .tsv, .txt, each also .gz) and .parquet.

Here belongs what can be wrong with a file as a file: encoding, separators, ragged rows. What its columns mean belongs
to ``nas.dataset.columns``.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data")
SEPARATORS = ",;\t|"
MISSING = ("?", "-", "")
"""Cells read as missing besides those pandas knows (NA, NaN, null, ...)."""


def read_table(path: Path) -> pd.DataFrame:
    """Returns the table in a file; the first line of a text file names the columns.

    The separator is the one of ``, ; tab |`` that is commonest in the first line; a comma is the decimal sign where the
    separator is another and numbers are written so.

    Raises:
        DataError: another kind of file, empty, not UTF-8, or rows of different length.
    """
    suffix = path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix not in TEXT_SUFFIXES:
        known = (*TEXT_SUFFIXES, ".parquet", ".npz")
        raise DataError(f"{path.name} must end in {', '.join(known)};{nearest(suffix, known)} Convert or rename it.")
    return _parse(_text(path), path.name)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except Exception as error:  # whatever a parser raises on foreign bytes
        raise DataError(f"{path.name} must be a Parquet file, but cannot be read ({error}); write it again.") from error


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} must be UTF-8 text, but byte {error.object[error.start]:#04x} at {error.start} is not;"
            " save it as UTF-8, or pass pandas.read_csv(path, encoding='latin-1') with target=."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} must be gzip-compressed, but is not ({error}); rename or compress it.") from error


def _parse(text: str, name: str) -> pd.DataFrame:
    import pandas as pd

    if not text.strip():
        raise DataError(f"a table needs a line of column names and two rows, but {name} is empty.")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    bare = re.sub(r'"[^"]*"', "", first)
    separator = max(SEPARATORS, key=bare.count)
    _check_rows(text, separator, name)
    head = text[:100_000]
    decimal = "," if separator != "," and re.search(r"\d,\d", head) and not re.search(r"\d\.\d", head) else "."
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=separator,
            decimal=decimal,
            na_values=list(MISSING),
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
    except ValueError as error:
        raise DataError(f"{name} must be a table of text, but cannot be read ({error}); correct it.") from error


def _check_rows(text: str, separator: str, name: str) -> None:
    """DataError where a row has more or fewer cells than the first line, or two columns share a name."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        header: list[str] | None = None
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = cells
                twice = next((cell for cell in cells if cell and cells.count(cell) > 1), None)
                if twice is not None:
                    raise DataError(f"column names must differ, but {name} has {twice!r} twice; rename one.")
            elif len(cells) != len(header):
                raise DataError(
                    f"every row must have {len(header)} cells like the first line, but line {reader.line_num} of {name}"
                    f" has {len(cells)}; correct it, or quote cells that hold {separator!r}."
                )
    except csv.Error as error:
        raise DataError(f"{name} must be a table of text, but line {reader.line_num} is not ({error}).") from error
