"""Where a history is: paths, addresses, the default place and what stands in for it. Opens no database to write."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from nas.errors import HistoryError

MEMORY = ":memory:"
_SQLITE = "sqlite:///"


def local(source: str | os.PathLike[str] | None) -> Path | str | None:
    """Returns a path for a file, ``MEMORY``, the text of a URL of another database, or None as it was."""
    if source is None:
        return None
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


def default(*, read_only: bool = False) -> tuple[Path, str]:
    """Returns the default place, $NAS_HISTORY or a file in the user's data folder, and an empty notice.

    Where it cannot be written, returns a temporary file (a copy of what could be read) and a sentence that says so.
    """
    path = local(os.environ.get("NAS_HISTORY") or None)
    if not isinstance(path, Path):
        import platformdirs

        path = Path(platformdirs.user_data_dir("nas", appauthor=False)) / "history.db"
    if read_only or _writable(path):
        return path, ""
    temporary = Path(tempfile.mkdtemp(prefix="nas-")) / "history.db"
    _copy(path, temporary)
    return temporary, (
        f"{path} cannot be written, so this history is kept in {temporary}; "
        "set NAS_HISTORY or pass storage= to keep it elsewhere."
    )


def is_pack(path: Path) -> bool:
    """Returns whether a file is named like a pack, or begins like one."""
    if path.suffix == ".parquet":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _writable(path: Path) -> bool:
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
    try:
        if not path.is_file():
            return
        uri = path.absolute().as_uri() + "?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except (OSError, sqlite3.Error):
        target.unlink(missing_ok=True)
        if path.is_file():
            shutil.copyfile(path, target)
