"""The architecture alone as JSON: what was found, without weights, to build, train or compare again."""

from __future__ import annotations

from pathlib import Path

from nas.architecture import Architecture
from nas.errors import ExportError
from nas.export.check import ExportReport
from nas.placed import placed


def export_json(architecture: Architecture, path: Path) -> ExportReport:
    """Returns the report on ``path``, which holds ``architecture.to_json()`` and was read back as an equal one.

    Raises:
        ExportError: the file cannot be written, or what is read back is another architecture.
    """
    with placed(path) as temporary:
        temporary.write_text(architecture.to_json() + "\n", encoding="utf-8")
        if Architecture.from_json(temporary.read_text(encoding="utf-8")) != architecture:
            raise ExportError(
                f"{path.name} must hold the architecture it was given, but reads back as another; report this as a bug."
            )
        return ExportReport(path, temporary.stat().st_size)
