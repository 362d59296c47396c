"""The whole network as one ONNX file: raw rows in, predictions out, the schema beside them as metadata.

The file takes ``numeric`` float32 (NaN = missing), ``categorical`` int64 codes (-1 = missing) or ``image`` uint8,
each with a first axis named ``batch``, and gives ``probabilities`` [batch, classes] or ``prediction`` [batch] in the
target's units. Class names, feature names and vocabularies are JSON under the metadata key ``nas``; ``nas.prediction``
reads them back and defines their format.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
import torch.onnx

from nas.errors import ExportError
from nas.export.check import ExportReport, Raw, milliseconds_per_row, placed, verify
from nas.prediction import FORMAT_VERSION, METADATA_KEY, open_model

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

OPSET = 18  # the oldest that torch writes without a conversion: read by every runtime since 2023
MAX_BYTES = 2**31 - 2**20  # one protocol buffer holds less than 2 GiB


def export_onnx(
    predictor: Predictor,
    data: Dataset,
    path: Path,
    *,
    settings: Mapping[str, object] | None = None,
    scores: Mapping[str, object] | None = None,
) -> ExportReport:
    """Returns the report on ``path``, an ONNX file that agrees with ``predictor`` on raw rows of ``data``.

    The file is read back and run by onnxruntime before it appears. ``predictor`` may be on any device, in any mode, and
    stays as it is.

    Raises:
        ExportError: the network does not convert, or the file does not agree with it; no file is left behind.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in predictor.state_dict().values())
    if size > MAX_BYTES:
        raise ExportError(
            f"an ONNX file holds at most {MAX_BYTES:,} bytes of weights, but this network has {size:,};"
            " search smaller ones."
        )
    predictor = copy.deepcopy(predictor).cpu().eval()
    output = "probabilities" if data.task == "classification" else "prediction"
    model = _convert(predictor, data, output)
    _annotate(model, _metadata(predictor, data, settings or {}, scores or {}))
    with placed(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        written = open_model(temporary, threads=1)

        def expected(raw: Raw) -> np.ndarray:
            with torch.inference_mode():
                return predictor(*(torch.from_numpy(raw[name]) for name in predictor.preprocess.raw)).numpy()

        difference, rows = verify(written.predict, expected, data)
        return ExportReport(
            path, temporary.stat().st_size, difference, rows, milliseconds_per_row(written.predict, data)
        )


def _convert(predictor: Predictor, data: Dataset, output: str) -> onnx.ModelProto:
    """Returns ``predictor`` as an ONNX graph with a free batch size.

    It is traced with two rows, because one row would fix the batch size at one.
    """
    names = tuple(predictor.preprocess.raw)
    arguments = tuple(torch.from_numpy(data.inputs[name][np.arange(2) % len(data)]) for name in names)
    shapes = (tuple({0: torch.export.Dim("batch")} for _ in names),)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(predictor, arguments, dynamic_shapes=shapes, strict=False)
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=names,
                output_names=[output],
                dynamic_shapes=shapes,
                external_data=False,
            )
        assert converted is not None
        onnx.checker.check_model(converted.model_proto, full_check=True)
        return converted.model_proto
    except Exception as error:  # torch raises of many kinds here; each means that this network has no ONNX form
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0][:200].rstrip(".")
        raise ExportError(
            "a network exports to ONNX when each operation has an ONNX form and a free batch size, but"
            f" {type(cause).__name__}: {reason}; leave the operation out of the search space, or write it with simpler"
            " torch operations."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the converter says about itself; warnings and the log level are as before afterwards."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _metadata(
    predictor: Predictor, data: Dataset, settings: Mapping[str, object], scores: Mapping[str, object]
) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "schema": data.schema(),
        "architecture": predictor.network.architecture.to_dict(),
        "settings": _finite(dict(settings)),
        "scores": _finite(dict(scores)),
    }


def _finite(value: Any) -> Any:
    """Returns ``value`` with numbers JSON has no word for (NaN, infinity) as None and numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _annotate(model: onnx.ModelProto, metadata: Mapping[str, Any]) -> None:
    """Puts ``metadata`` into ``model`` in place of what the converter left.

    That is the stack trace of every node, with paths of this machine: a third of the size of a small network.
    """
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ClearField("metadata_props")
    model.metadata_props.add(
        key=METADATA_KEY, value=json.dumps(metadata, allow_nan=False, ensure_ascii=False, sort_keys=True)
    )
