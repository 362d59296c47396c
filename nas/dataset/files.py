"""Table files to DataFrames: .csv (and .tsv, .txt, .data, each also .gz) and .parquet.

Here belongs which file is read how, and what is refused before it is read. What can be wrong with text belongs to
``nas.dataset.text``, what columns mean to ``columns``.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from nas.dataset import text
from nas.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data")
MAX_CELLS = 2**29
"""Cells a table may have at most (4 GiB as 64-bit floats)."""


def read_table(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the table in a file, and what had to be guessed to read it (encoding, separator, decimal sign).

    Raises:
        DataError: another kind of file, or one that cannot be read as its name says.
    """
    check_file(path)
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path), ()
    if suffix not in TEXT_SUFFIXES:
        known = (*TEXT_SUFFIXES, ".parquet", ".npz")
        raise DataError(f"{path.name} must end in {', '.join(known)};{nearest(suffix, known)} Convert or rename it.")
    return text.read_text(path, MAX_CELLS)


def check_file(path: Path) -> None:
    """DataError where a path is no plain file that may be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be opened ({error.strerror}); check its name and rights.") from error
    raise DataError(f"{str(path)!r} must be a file, but is a directory or a device; copy the data into a file.")


def first_line(error: BaseException) -> str:
    """Returns what an error of another library says, in one line."""
    return str(error).strip().split("\n")[0][:300] or type(error).__name__


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow.parquet

        metadata = pyarrow.parquet.read_metadata(path)
        cells = metadata.num_rows * max(metadata.num_columns, 1)
        if cells <= MAX_CELLS:
            found = pyarrow.parquet.read_table(path)
            found.validate(full=True)  # text that is no UTF-8, offsets that lead outside
            return found.to_pandas()
    except Exception as error:  # whatever a parser raises on foreign bytes
        raise DataError(
            f"{path.name} must be a Parquet file, but cannot be read ({first_line(error)}); write it again."
        ) from error
    raise DataError(f"a table may have {MAX_CELLS:,} cells, but {path.name} has {cells:,}; draw some of its rows.")
