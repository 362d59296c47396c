"""How a file appears: whole, or not at all.

Here belongs only the taking of a place on disk. What is written belongs to whoever writes it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import ExportError

_SCRATCH = "nas-scratch-"


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place when the block ends well, else vanishes.

    A full disk, an error or Ctrl-C leaves an older file at ``path`` as it was.

    Raises:
        ExportError: ``path`` is a folder, its own folder is missing, or the place cannot be written to.
    """
    check_place(path)
    temporary = path.with_name(f".{path.name[:64]}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ExportError(
            f"{str(path)!r} must be writable, but {error.strerror or error}; choose another place for the file."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yields a folder for what is written and read again at once; it vanishes with the block.

    A process that is killed leaves it behind: the next one that needs a folder takes it away.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*-*"):
        with suppress(ValueError, OSError):
            if not _lives(int(left.name.removeprefix(_SCRATCH).split("-")[0])):
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-") as folder:
        yield Path(folder)


def _lives(process: int) -> bool:
    if os.name != "posix":  # elsewhere asking is killing
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def check_place(path: Path) -> None:
    """Raises ExportError where no file can be written to ``path``, before anything is done for it."""
    folder = path.parent
    if path.is_dir():
        raise ExportError(f"a file is written to a path with a file name, but {str(path)!r} is a folder; add a name.")
    if not folder.is_dir():
        raise ExportError(
            f"a file is written into a folder that exists, but {str(folder)!r} does not; create it first."
        )
    if not os.access(folder, os.W_OK):
        raise ExportError(f"a file needs a folder that can be written to, but {str(folder)!r} cannot; choose another.")
