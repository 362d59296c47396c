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

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

__all__ = ["FORMATS", "ExportReport", "check_suffix", "export"]

FORMATS: tuple[str, ...] = (".onnx", ".json")


def export(
    predictor: Predictor,
    data: Dataset,
    path: str | os.PathLike[str],
    *,
    settings: Mapping[str, object] | None = None,
    scores: Mapping[str, object] | None = None,
) -> ExportReport:
    """Returns the report on ``path``, written in the format of its suffix and checked on rows of ``data``.

    ``.onnx`` is the whole network, raw rows in, predictions out; ``.json`` the architecture alone. ``settings`` and
    ``scores`` travel with the network as metadata. Where the check fails nothing is left behind, and an older file at
    ``path`` stays.

    Raises:
        ExportError: the suffix is unknown, the file cannot be written, or it does not agree with ``predictor``.
    """
    path = Path(path)
    suffix = check_suffix(path)
    if suffix == ".onnx":
        from nas.export.onnx import export_onnx

        return export_onnx(predictor, data, path, settings=settings, scores=scores)
    from nas.export.json import export_json

    return export_json(predictor.network.architecture, path)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Returns the suffix of ``path`` in lower case; ExportError where no format has it or its folder is not there."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        if not path.resolve().parent.is_dir():
            raise ExportError(
                f"a file is written into a folder that exists, but {path.parent} does not; create it first."
            )
        return suffix
    raise ExportError(
        f"the suffix of an exported file must be one of {', '.join(FORMATS)}, but got {path.name!r};"
        f"{nearest(suffix, FORMATS)} for example {path.stem or 'model'}.onnx."
    )
