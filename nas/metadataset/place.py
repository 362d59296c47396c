"""Where a history is: paths, addresses, the default place and what stands in for it. Opens no database to write."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from nas.errors import HistoryError

MEMORY = ":memory:"
_SQLITE = "sqlite:///"


def local(source: str | os.PathLike[str]) -> Path | str:
    """Returns a path for a file, ``MEMORY``, or the text of the URL of another database."""
    if not isinstance(source, str | os.PathLike):
        raise HistoryError(f"A history is named by a path or a database URL, but got {source!r}.")
    if not isinstance(source, str):
        return Path(source).expanduser()
    if source in (MEMORY, "sqlite://", _SQLITE + MEMORY):
        return MEMORY
    if source.startswith(_SQLITE):
        return Path(source[len(_SQLITE) :]).expanduser()
    if "://" in source:
        return source
    if not source.strip():
        raise HistoryError(
            "A history is named by a path or a database URL, but got an empty text; None is the default."
        )
    return Path(source).expanduser()


def default() -> Path | str:
    """Returns what $NAS_HISTORY names, as ``local`` does, or a file in the user's data folder."""
    named = os.environ.get("NAS_HISTORY")
    if named:
        return local(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("nas", appauthor=False)) / "history.db"


def priors(place: str) -> Path:
    """Returns the folder for what was learned from a history: beside its file, for an address in the user's data."""
    if "://" not in place:
        path = Path(place)
        return path.with_name(f"{path.name}.priors")
    import platformdirs

    digest = hashlib.sha256(place.encode()).hexdigest()
    return Path(platformdirs.user_data_dir("nas", appauthor=False)) / f"{digest[:16]}.priors"


def writable(path: Path) -> tuple[Path, str]:
    """Returns a path that can be written and an empty notice; or a temporary file, and a sentence that says so.

    The temporary file begins as a copy of what could be read.
    """
    if _is_writable(path):
        return path, ""
    temporary = Path(tempfile.mkdtemp(prefix="nas-")) / "history.db"
    _copy(path, temporary)
    return temporary, (
        f"{path} cannot be written, so this history is kept in {temporary}; "
        "set NAS_HISTORY or pass storage= to keep it elsewhere."
    )


def older_copy(path: Path, version: int) -> Path:
    """Returns where a history of an older version is kept as it was before it was upgraded."""
    return path.with_name(f"{path.name}.schema{version}")


def is_pack(path: Path) -> bool:
    """Returns whether a file is named like a pack, or begins like one."""
    if path.suffix == ".parquet":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _is_writable(path: Path) -> bool:
    """Returns whether SQLite could write here: the file, and beside it its log."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with path.open("ab"):
                pass
        with tempfile.TemporaryFile(dir=path.parent):
            return True
    except OSError:
        return False


def _copy(path: Path, target: Path) -> None:
    """Copies a history that can be read but not written, with what its log holds; nothing where that fails."""
    if not _can_be_read(path):
        return
    try:
        uri = path.absolute().as_uri() + "?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except (OSError, sqlite3.Error):
        target.unlink(missing_ok=True)
        shutil.copyfile(path, target)


def _can_be_read(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:  # not there, or in a folder that is closed to this account
        return False
