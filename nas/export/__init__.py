"""Networks into files: one file a format, each of which checks what it wrote before the file appears.

Here belongs only the choice of the format by the suffix; what all formats share is in ``nas.export.check``. Running an
exported file again, without torch, is the business of ``nas.prediction``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import ExportError, nearest
from nas.export.check import ExportReport
from nas.placed import check_place

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.dataset import Dataset
    from nas.model import Predictor
    from nas.operations import Operation

__all__ = ["ARCHITECTURE_FORMATS", "FORMATS", "ExportReport", "check_suffix", "export", "export_architecture"]

ARCHITECTURE_FORMATS: tuple[str, ...] = (".json", ".svg")
FORMATS: tuple[str, ...] = (".onnx", ".pt2", ".py", *ARCHITECTURE_FORMATS)


def export(
    predictor: Predictor,
    data: Dataset,
    path: str | os.PathLike[str],
    *,
    settings: Mapping[str, object] | None = None,
    scores: Mapping[str, object] | None = None,
    operations: Mapping[str, Operation] | None = None,
) -> ExportReport:
    """Returns the report on ``path``, written in the format of its suffix and checked on rows of ``data``.

    ``.onnx`` is the whole network, raw rows in, class names and probabilities out, for any ONNX runtime; ``.pt2`` the
    same as a ``torch.export`` program; ``.py`` readable source that needs torch alone, with its weights beside it in a
    ``.safetensors``; ``.json`` the architecture alone, ``.svg`` a drawing of it. ``settings`` and ``scores`` travel
    with the network as metadata; ``operations`` are those of the search space, whose source a ``.py`` includes. An
    older file at ``path`` is replaced; where the check fails nothing is left behind, and the older file stays.

    A ``.py`` is checked in a fresh process, which takes as long as importing torch; the others in this one, by reading
    the file and running it.

    Raises:
        ExportError: the suffix is unknown, the file cannot be written, or it does not agree with ``predictor``.
    """
    path = Path(path).expanduser()
    suffix = check_suffix(path)
    if suffix in ARCHITECTURE_FORMATS:
        return export_architecture(predictor.network.architecture, path)
    if suffix == ".py":
        from nas.export.python import export_python
        from nas.operations import BUILTIN

        known = BUILTIN if operations is None else operations
        return export_python(predictor, data, path, settings=settings, scores=scores, operations=known)
    if suffix == ".pt2":
        from nas.export.pt2 import export_pt2 as export_network
    else:
        from nas.export.onnx import export_onnx as export_network
    return export_network(predictor, data, path, settings=settings, scores=scores)


def export_architecture(architecture: Architecture, path: str | os.PathLike[str]) -> ExportReport:
    """Returns the report on ``path``, the architecture alone as ``.json`` or drawn as ``.svg``; see ``export``."""
    path = Path(path).expanduser()
    if check_suffix(path) == ".svg":
        from nas.export.svg import export_svg

        return export_svg(architecture, path)
    from nas.export.json import export_json

    return export_json(architecture, path)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Returns the suffix of ``path`` in lower case; ExportError where no format has it or no file can be put there."""
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ExportError(
            f"the suffix of an exported file must be one of {', '.join(FORMATS)}, but got {path.name!r};"
            f"{nearest(suffix, FORMATS)} for example {path.stem or 'model'}.onnx."
        )
    check_place(path)
    return suffix
