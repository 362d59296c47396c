"""Tables of text: encoding, separator, decimal sign, ragged rows; what is guessed is said.

Here belongs what can be wrong with text as text. A file is read in pieces, so that a line or a field of gigabytes ends
in a sentence, not in the memory. Symbols: a cell is what stands between two separators.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nas.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
MISSING = ("?", "-", "")
"""Cells read as missing besides those pandas knows (NA, NaN, null, ...)."""
MAX_LINE = 2**24
"""Characters of the longest line that is read."""
CHUNK = 2**20
EXPANSION, LARGE = 200, 2**30
"""A compressed file that grows to more than ``LARGE`` bytes and more than ``EXPANSION`` times its size is refused."""
SAMPLE = 1000
"""Rows by which the decimal sign is told."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_WINDOWS = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a text is written: ``encoding`` (a codec), ``separator`` and ``decimal`` sign, and what of it was guessed."""

    encoding: str
    separator: str
    decimal: str
    notes: tuple[str, ...] = ()


def read_text(path: Path, max_cells: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the table in a text file, whose first line names the columns, and what was guessed to read it.

    The separator is the one of ``, ; tab |`` that is commonest in the first line (spaces where it has none of them); a
    comma is the decimal sign where the separator is another and cells are written so. Text that is not UTF-8 is read
    as UTF-16 or UTF-32 where it begins with their mark, else as Windows-1252.

    Raises:
        DataError: empty, binary, rows of different length, two columns of one name, a line without names, or larger
            than ``max_cells``.
    """
    import pandas as pd

    try:
        dialect = _dialect(path)
        _check_rows(path, dialect, max_cells)
        frame = pd.read_csv(
            path,
            sep=dialect.separator,
            decimal=dialect.decimal,
            encoding=dialect.encoding,
            compression="gzip" if _is_zipped(path) else None,
            na_values=list(MISSING),
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} must be gzip-compressed, but is not ({error}); rename or compress it.") from error
    except UnicodeError as error:
        line = str(error).split("\n")[0]
        raise DataError(f"{path.name} must be text, but cannot be decoded ({line}); save it as UTF-8.") from error
    except (ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        line = str(error).strip().split("\n")[0]
        raise DataError(f"{path.name} must be a table of text, but cannot be read ({line}); correct it.") from error
    return frame, dialect.notes


# --- bytes ------------------------------------------------------------------------------------------------------------


def _is_zipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if _is_zipped(path) else path.open("rb")  # type: ignore[return-value]


def _encoding(path: Path) -> tuple[str, str]:
    """Returns (codec, what is to be said of it) of the whole file."""
    with _bytes(path) as stream:
        head = stream.read(4)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    decoder = codecs.getincrementaldecoder(marked or "utf-8")()
    total, size, strange, windows = 0, path.stat().st_size, "", True
    with _bytes(path) as stream:
        while chunk := stream.read(CHUNK):
            if total + len(chunk) > max(LARGE, EXPANSION * size):
                raise DataError(f"{path.name} grows to more than {EXPANSION} times its size; decompress it yourself.")
            if b"\0" in chunk and marked in (None, "utf-8-sig"):
                raise DataError(
                    f"{path.name} must be text, but byte {total + chunk.index(0)} is 0, as in binary files or in UTF-16"
                    " without its mark; save it as UTF-8."
                )
            windows = windows and not _NOT_WINDOWS.search(chunk)
            if not strange:
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    strange = f"byte {error.object[error.start]:#04x} at about {total + error.start}"
            total += len(chunk)
    if marked in ("utf-16", "utf-32") and not strange:
        return marked, f"{path.name} is read as {marked.upper()}"
    if not strange:
        return "utf-8-sig", ""
    if marked is not None or not windows:
        raise DataError(f"{path.name} must be UTF-8 text, but {strange} is none; save it as UTF-8.")
    return "cp1252", f"{path.name} is not UTF-8 ({strange}): read as Windows-1252, check names with accents"


# --- lines and cells --------------------------------------------------------------------------------------------------


def _lines(path: Path, encoding: str) -> Iterator[str]:
    with io.TextIOWrapper(_bytes(path), encoding=encoding, newline="") as stream:
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise DataError(
                    f"a line may have {MAX_LINE:,} characters, but line {number} of {path.name} has more; check its"
                    " line ends."
                )
            yield line


def _rows(path: Path, encoding: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the line it ends on, cells) of every row that has a cell."""
    reader = csv.reader(_lines(path, encoding), delimiter=separator, skipinitialspace=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            limit = csv.field_size_limit()
            raise DataError(
                f"{path.name} must be a table of text with cells of at most {limit:,} characters, but line"
                f" {reader.line_num} is not ({error}); is a quotation mark missing?"
            ) from error
        if cells:
            yield reader.line_num, cells


def _dialect(path: Path) -> Dialect:
    encoding, said = _encoding(path)
    first = next((line for line in _lines(path, encoding) if line.strip()), None)
    if first is None:
        raise DataError(f"a table needs a line of column names and two rows, but {path.name} is empty.")
    bare = re.sub(r'"[^"]*"', "", first.strip("\r\n"))
    separator = max(SEPARATORS, key=bare.count)
    if separator not in bare and " " in bare.strip():
        separator = " "
    decimal = "." if separator == "," else _decimal(path, encoding, separator)
    names = {"\t": "tabs", " ": "spaces", ";": "';'", "|": "'|'"}
    usual = separator == "," or (separator == "\t" and ".tsv" in path.suffixes)
    how = [] if usual else [f"cells separated by {names[separator]}"]
    how += ["a comma as the decimal sign"] if decimal == "," else []
    notes = [said, f"{path.name} is read with {' and '.join(how)}" if how else ""]
    return Dialect(encoding, separator, decimal, tuple(note for note in notes if note))


def _decimal(path: Path, encoding: str, separator: str) -> str:
    """Returns the decimal sign of the first rows: a comma where a number has one and none has a point."""
    commas = points = 0
    for count, (_, cells) in enumerate(_rows(path, encoding, separator)):
        commas += sum(1 for cell in cells if _COMMA.fullmatch(cell.strip()))
        points += sum(1 for cell in cells if _POINT.fullmatch(cell.strip()))
        if count >= SAMPLE:
            break
    return "," if commas and not points else "."


def _check_rows(path: Path, dialect: Dialect, max_cells: int) -> None:
    """DataError where a row has more or fewer cells than the first line, or that is no line of names."""
    header: list[str] | None = None
    total = 0
    for line, cells in _rows(path, dialect.encoding, dialect.separator):
        total += len(cells)
        if header is None:
            header = cells
            _check_header(header, path.name)
        elif len(cells) != len(header):
            raise DataError(
                f"every row must have {len(header)} cells like the first line, but line {line} of {path.name} has"
                f" {len(cells)}; correct it, or quote cells that hold {dialect.separator!r}."
            )
        if total > max_cells:
            raise DataError(f"a table may have {max_cells:,} cells, but {path.name} has more; draw some of its rows.")


def _check_header(header: Sequence[str], name: str) -> None:
    counts = Counter(cell.strip() for cell in header if cell.strip())
    twice = next((cell for cell, count in counts.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"column names must differ, but {name} has {twice!r} twice; rename one.")
    if len(header) > 1 and all(_NUMBER.fullmatch(cell.strip()) for cell in header):
        whole = [cell.strip() for cell in header]
        if whole not in ([str(i) for i in range(len(whole))], [str(i + 1) for i in range(len(whole))]):
            raise DataError(
                f"the first line must name the columns, but that of {name} holds numbers alone, {', '.join(whole[:5])};"
                " add a line of names."
            )
