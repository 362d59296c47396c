"""The whole network as a program of ``torch.export``: raw tensors in, predictions out, any batch size.

``torch.export.load(path).module()`` takes ``numeric`` float32 (NaN = missing), ``categorical`` int64 codes (-1 =
missing), ``image`` uint8 or ``series`` float32 (NaN = missing), each [batch, ...], in the order of the metadata's
``inputs`` and gives probabilities [batch, classes] or values [batch]. The metadata are JSON in the extra file
``nas.json``.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas.errors import ExportError
from nas.export.check import ExportReport, Raw, metadata, milliseconds_per_row, on_cpu, reason_of, verify
from nas.placed import placed

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

DTYPES = {"numeric": torch.float32, "categorical": torch.int64, "image": torch.uint8, "series": torch.float32}
EXTRA_FILE = "nas.json"


def export_pt2(
    predictor: Predictor,
    data: Dataset,
    path: Path,
    *,
    settings: Mapping[str, object] | None = None,
    scores: Mapping[str, object] | None = None,
) -> ExportReport:
    """Returns the report on ``path``, a .pt2 file that agrees with ``predictor`` on raw rows of ``data``.

    The file is read back and run before it appears. ``predictor`` may be on any device and stays as it is.

    Raises:
        ExportError: the network cannot be traced, or the file does not agree with it; no file is left behind.
    """
    predictor = on_cpu(predictor)
    names = predictor.preprocess.raw
    information = {"inputs": list(names)} | metadata(predictor, data, settings or {}, scores or {})
    content = io.BytesIO()  # torch's own writer would not say what is wrong with a disk
    try:
        program = trace(predictor, data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extra = json.dumps(information, allow_nan=False, ensure_ascii=False, sort_keys=True)
            torch.export.save(program, content, extra_files={EXTRA_FILE: extra})
    except Exception as error:  # torch raises of many kinds here; each means that this network cannot be traced
        raise ExportError(
            "a network exports to a torch program when each operation can be traced with a free batch size, but"
            f" {reason_of(error)}; leave the operation out of the search space, or write it with simpler torch"
            " operations."
        ) from error
    with placed(path) as temporary:
        temporary.write_bytes(content.getbuffer())
        written = torch.export.load(io.BytesIO(temporary.read_bytes())).module()

        def found(raw: Raw) -> np.ndarray:
            with torch.inference_mode():
                output: np.ndarray = written(*(torch.from_numpy(raw[name]) for name in names)).numpy()
            return output

        difference, rows = verify(lambda batches: [found(batch) for batch in batches], predictor, data)
        return ExportReport(path, temporary.stat().st_size, difference, rows, milliseconds_per_row(found, data))


def trace(predictor: Predictor, data: Dataset) -> torch.export.ExportedProgram:
    """Returns ``predictor``, on the CPU, as a traced program with a free batch size, without paths of this machine.

    It is traced with two rows, because one row would fix the batch size at one, and with zeros, because the file keeps
    them: no row of the data leaves with it. Raises whatever torch raises.
    """
    names = predictor.preprocess.raw
    arguments = tuple(torch.zeros((2, *data.inputs[name].shape[1:]), dtype=DTYPES[name]) for name in names)
    shapes = (tuple({0: torch.export.Dim("batch")} for _ in names),)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(predictor, arguments, dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program
