"""The whole network as one ONNX file: raw rows in, class names and probabilities out, the schema as metadata.

The file takes ``numeric`` float32 (NaN = missing), ``categorical`` strings (anything not in the vocabulary, such as the
empty string, = missing), ``image`` uint8 or ``series`` float32 (NaN = missing), each with a first axis named ``batch``,
and gives ``label`` [batch] strings and ``probabilities`` [batch, classes], or ``prediction`` [batch] in the target's
units. Words become codes, and codes class names, by the standard operation ``LabelEncoder`` (domain ai.onnx.ml), so
that any runtime can feed raw rows.
Class names, feature names and vocabularies are also JSON under the metadata key ``nas``; ``nas.prediction`` reads them
back and defines their format.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.inliner
import torch
import torch.onnx
from onnx import TensorProto, helper

from nas.errors import ExportError
from nas.export.check import ExportReport, metadata, milliseconds_per_row, on_cpu, reason_of, verify
from nas.export.pt2 import trace
from nas.placed import placed
from nas.prediction import FORMAT_VERSION, METADATA_KEY, open_model

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

OPSET = 18  # the oldest that torch writes without a conversion: read by every runtime since 2023
OPSET_ML = 3  # of ai.onnx.ml
CODES = "categorical/codes"  # the input of the converted graph, inside the file
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
    predictor = on_cpu(predictor)
    model = _convert(predictor, data)
    _strip(model)
    if "categorical" in predictor.preprocess.raw:
        _take_words(model.graph, data.levels)
    if data.classes:
        _name_classes(model.graph, data.classes)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)])
    information = {"format": FORMAT_VERSION} | metadata(predictor, data, settings or {}, scores or {})
    text = json.dumps(information, allow_nan=False, ensure_ascii=False, sort_keys=True)
    model.metadata_props.add(key=METADATA_KEY, value=text)
    with placed(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        written = open_model(temporary, threads=1)
        difference, rows = verify(lambda batches: [written.predict(batch) for batch in batches], predictor, data)
        time = milliseconds_per_row(written.predict, data)
        return ExportReport(path, temporary.stat().st_size, difference, rows, time)


def _convert(predictor: Predictor, data: Dataset) -> onnx.ModelProto:
    """Returns ``predictor`` as an ONNX graph with a free batch size, which takes categories as ``CODES``."""
    names = predictor.preprocess.raw
    shapes = (tuple({0: torch.export.Dim("batch")} for _ in names),)
    output = "probabilities" if data.task == "classification" else "prediction"
    try:
        with torch.no_grad(), _quiet():
            converted = torch.onnx.export(
                trace(predictor, data),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[CODES if name == "categorical" else name for name in names],
                output_names=[output],
                dynamic_shapes=shapes,
                external_data=False,
            )
        assert converted is not None
        model = converted.model_proto
        model = onnx.inliner.inline_local_functions(model) if model.functions else model
        onnx.checker.check_model(model, full_check=True)
        return model
    except Exception as error:  # torch raises of many kinds here; each means that this network has no ONNX form
        raise ExportError(
            "a network exports to ONNX when each operation has an ONNX form and a free batch size, but"
            f" {reason_of(error)}; leave the operation out of the search space, or write it with simpler"
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


def _strip(model: onnx.ModelProto) -> None:
    """Removes what the converter left behind: the stack trace of every node, with paths of this machine."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    model.ClearField("metadata_props")


def _take_words(graph: onnx.GraphProto, levels: Sequence[Sequence[str]]) -> None:
    """Puts an input of strings, ``categorical`` [batch, columns], in front of the input of codes."""
    codes = next(end for end in graph.input if end.name == CODES)
    words = helper.make_tensor_value_info("categorical", TensorProto.STRING, ["batch", len(levels)])
    nodes = []
    for column, level in enumerate(levels):
        name = f"categorical/{column}"
        graph.initializer.append(helper.make_tensor(f"{name}/index", TensorProto.INT64, [1], [column]))
        nodes.append(helper.make_node("Gather", ["categorical", f"{name}/index"], [f"{name}/word"], axis=1))
        attributes: dict[str, Any] = {
            "keys_strings": level or [""],
            "values_int64s": list(range(len(level))) or [-1],
        }
        nodes.append(_label_encoder(f"{name}/word", f"{name}/code", default_int64=-1, **attributes))
    nodes.append(helper.make_node("Concat", [f"categorical/{i}/code" for i in range(len(levels))], [CODES], axis=1))
    _replace(graph.input, [words if end is codes else end for end in graph.input])
    _replace(graph.node, [*nodes, *graph.node])


def _name_classes(graph: onnx.GraphProto, classes: Sequence[str]) -> None:
    """Adds the output ``label`` [batch], the name of the likeliest class, in front of ``probabilities``."""
    graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["label/code"], axis=1, keepdims=0))
    names: dict[str, Any] = {"keys_int64s": range(len(classes)), "values_strings": classes}
    graph.node.append(_label_encoder("label/code", "label", **names))
    label = helper.make_tensor_value_info("label", TensorProto.STRING, ["batch"])
    _replace(graph.output, [label, *graph.output])


def _label_encoder(source: str, target: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("LabelEncoder", [source], [target], domain="ai.onnx.ml", **attributes)


def _replace(field: Any, items: Sequence[Any]) -> None:
    """Sets a repeated field of a protocol buffer to ``items``, which may be its own."""
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
