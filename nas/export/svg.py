"""The architecture alone as a drawing, for people."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from nas.architecture import Architecture
from nas.draw import svg
from nas.errors import ExportError
from nas.export.check import ExportReport
from nas.placed import placed


def export_svg(architecture: Architecture, path: Path) -> ExportReport:
    """Returns the report on ``path``, an SVG that was read back and has a box for every node.

    Raises:
        ExportError: the file cannot be written, or is no drawing of ``architecture``.
    """
    with placed(path) as temporary:
        temporary.write_text(svg(architecture), encoding="utf-8")
        try:
            boxes = len(ElementTree.parse(temporary).findall(".//{http://www.w3.org/2000/svg}rect"))
        except ElementTree.ParseError:
            boxes = -1
        if boxes != len(architecture.nodes):
            raise ExportError(
                f"{path.name} must have a box for each of {len(architecture.nodes)} nodes, but has {boxes}; report this"
                " as a bug."
            )
        return ExportReport(path, temporary.stat().st_size)
