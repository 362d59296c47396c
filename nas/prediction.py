"""Predictions of an exported file on new rows: onnxruntime and pandas, no torch.

Here belongs the reading side of an exported ONNX file: opening it with suspicion, checking the metadata that
``nas.export.onnx`` wrote, and turning a table or images into a table of predictions. How columns are encoded belongs to
``nas.dataset``; writing files to ``nas.export``. The metadata are one JSON object under the key ``nas``: ``format`` (an
integer; newer is refused), ``schema`` (``Dataset.schema()``), ``architecture``, ``settings``, ``scores``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import DataError, ExportError, nearest
from nas.placed import check_place, placed

if TYPE_CHECKING:
    import onnx
    import onnxruntime
    import pandas

METADATA_KEY = "nas"
FORMAT_VERSION = 1
OUT_SUFFIXES = (".csv", ".json", ".parquet")
BATCH = 1024  # rows that are predicted at a time
TYPES = {
    "numeric": "tensor(float)",
    "categorical": "tensor(string)",
    "image": "tensor(uint8)",
    "series": "tensor(float)",
}
FILLING = ("ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "OneHot")  # operations that make large of small
MAX_NODES = 2**16  # of a model file: 3 s to prepare, and it grows with the square
MAX_ELEMENTS = 2**28  # of a tensor in a model file whose size the file itself fixes: 1 GiB in float32


@dataclass(frozen=True)
class ExportedModel:
    """An exported file that was opened and checked: its metadata and the onnxruntime session that runs it."""

    metadata: Mapping[str, Any]
    session: onnxruntime.InferenceSession

    @property
    def schema(self) -> dict[str, Any]:
        """What columns and classes are: ``Dataset.schema()`` of the data the network was trained on."""
        return self.metadata["schema"]

    def predict(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns probabilities [rows, classes], or values [rows] in the target's units, for arrays as in
        ``Dataset.inputs``.

        Raises:
            ExportError: the arrays do not fit the file.
        """
        rows = len(next(iter(raw.values())))
        output = "probabilities" if self.schema["classes"] else "prediction"
        try:
            inputs = {name: self._words(array) if name == "categorical" else array for name, array in raw.items()}
            parts = [
                self.session.run([output], {name: array[start : start + BATCH] for name, array in inputs.items()})[0]
                for start in range(0, rows, BATCH)
            ]
        except Exception as error:  # onnxruntime's errors share no base class
            raise ExportError(
                f"raw rows must fit the inputs of the exported file, but {_first_line(error)};"
                " encode them by its schema."
            ) from error
        shape = (rows, len(self.schema["classes"])) if self.schema["classes"] else (rows,)
        predictions = np.concatenate(parts) if parts else np.empty(shape, dtype=np.float32)
        if predictions.shape != shape:
            raise ExportError(
                f"an exported file must give a row of predictions for each row, here {shape}, but gives"
                f" {predictions.shape}; export it again."
            )
        return predictions

    def _words(self, codes: np.ndarray) -> np.ndarray:
        """Returns the words that codes [rows, columns] stand for; a missing one is a word of no vocabulary."""
        words = np.empty(codes.shape, dtype=object)
        for column, level in enumerate(self.schema["levels"]):
            missing = ""
            while missing in level:
                missing += "?"
            words[:, column] = np.array([*level, missing], dtype=object)[codes[:, column]]
        return words


def predict_file(
    model_path: str | Path,
    data_path: str | Path,
    out_path: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> pandas.DataFrame:
    """Returns a row of predictions for each row of ``data_path``, and writes them to ``out_path`` where that is given.

    The column ``prediction`` holds the class name, or the value in the target's units; classification adds
    ``probability_CLASS`` for each class; a folder of images adds ``file``. Columns are found by name; the target and
    others that the network does not know are ignored.

    Args:
        model_path: an .onnx file written by ``nas.export.export``.
        data_path: a table (.csv, .parquet), images (a folder, .npz), or series (.npz, or a table of steps).
        out_path: a .csv, .json (a list of objects) or .parquet file, none of the other two.
        say: is given a sentence about each column with values that the network does not know.

    Raises:
        ExportError: the model file is damaged, newer, or not one of ours, or ``out_path`` cannot be written.
        DataError: the data lack a column or cannot be read.
    """
    out = None if out_path is None else _checked_out(Path(out_path), (Path(model_path), Path(data_path)))
    model = open_model(model_path)
    raw, files = _raw_rows(Path(data_path).expanduser(), model, say)
    frame = _frame(model.predict(raw), model.schema["classes"], files)
    if out is not None:
        _write(frame, out)
    return frame


def open_model(path: str | Path, threads: int = 0) -> ExportedModel:
    """Returns the exported file ``path``, ready to predict on ``threads`` threads (0: as many as there are cores).

    Nothing in the file is executed but the standard operations of ONNX, and no other file is read.

    Raises:
        ExportError: ``path`` is missing, damaged, not ONNX, not written by this library, newer than it, or points to
            other files.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # what is predicted here is reported to nobody
    import onnxruntime

    path = Path(path).expanduser()
    if not path.is_file():
        raise ExportError(
            f"a model must be an exported file, but there is none at {str(path)!r}; write one with --export model.onnx."
        )
    content = path.read_bytes()
    parsed = _parse(content, path.name)
    metadata = _metadata(parsed, path.name)
    _check_sizes(parsed, path.name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ExportError(
            f"{path.name} must hold a network that onnxruntime can run, but {_first_line(error)}; export it again."
        ) from error
    _check_ends(session, metadata["schema"], path.name)
    return ExportedModel(metadata, session)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


# --- opening with suspicion -------------------------------------------------------------------------------------------


def _parse(content: bytes, name: str) -> onnx.ModelProto:
    """Returns the protocol buffer in ``content``, which refers to no other file."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ExportError(
            f"{name} must be a whole .onnx file, but it is damaged or of another format; export the network as .onnx."
        ) from error
    if model.functions or model.training_info:  # a few lines of functions can stand for millions of operations
        raise ExportError(f"{name} must be a plain network, but defines functions of its own; export it again.")
    if (nodes := _nodes(model.graph)) > MAX_NODES:
        raise ExportError(f"{name} may have {MAX_NODES:,} operations, but has {nodes:,}; use a file that nas exported.")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ExportError(
                f"{name} must hold its weights itself, but {tensor.name!r} points to another file; export it again."
            )
    return model


def _check_sizes(model: onnx.ModelProto, name: str) -> None:
    """Refuses a network with a tensor that the file makes larger than is reasonable: weights, ends, filled shapes."""
    import onnx

    sizes = {tensor.name: math.prod(tensor.dims) for tensor in _tensors(model)}
    for end in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = [dim.dim_value for dim in end.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        sizes[end.name] = max(sizes.get(end.name, 0), math.prod(dims))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.output:
            constants[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        for source in node.input if node.op_type in FILLING else ():
            tensor = constants.get(source)
            if tensor is not None and tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) < 16:
                values = tensor.int64_data or np.frombuffer(tensor.raw_data[: len(tensor.raw_data) // 8 * 8], "<i8")
                sizes[source] = max(sizes.get(source, 0), math.prod(abs(int(value)) for value in values))
    large = max(sizes, key=lambda tensor: sizes[tensor], default="")
    if sizes and sizes[large] > MAX_ELEMENTS:
        raise ExportError(
            f"a tensor in {name} may have {MAX_ELEMENTS:,} elements, but {large[:80]!r} has {sizes[large]:,}; use a"
            " file that nas exported."
        )


def _nodes(graph: onnx.GraphProto) -> int:
    """Returns how many operations there are in a graph and in those inside its nodes."""
    inner = (g for node in graph.node for attribute in node.attribute for g in (attribute.g, *attribute.graphs))
    return len(graph.node) + sum(_nodes(g) for g in inner if g.ByteSize())


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields every tensor anywhere in ``model``: weights, attributes, graphs inside nodes."""
    graphs = [model.graph]
    nodes: list[onnx.NodeProto] = []
    attributes: list[onnx.AttributeProto] = []
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
        elif nodes:
            attributes.extend(nodes.pop().attribute)
        else:
            attribute = attributes.pop()
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += [graph for graph in (attribute.g, *attribute.graphs) if graph.ByteSize()]


def _metadata(model: onnx.ModelProto, name: str) -> dict[str, Any]:
    """Returns the metadata of ``model``, whose format and schema are as expected."""
    texts = [prop.value for prop in model.metadata_props if prop.key == METADATA_KEY]
    if len(texts) != 1:
        raise ExportError(
            f"{name} must be a network that nas exported, but has {len(texts)} metadata entries {METADATA_KEY!r}, not"
            " one; write such a file with --export model.onnx."
        )
    try:
        metadata = json.loads(texts[0])
    except (ValueError, RecursionError) as error:
        raise ExportError(f"the metadata of {name} must be JSON, but they are not; export it again.") from error
    number = metadata.get("format") if isinstance(metadata, dict) else None
    if isinstance(number, int) and number > FORMAT_VERSION:
        raise ExportError(
            f"{name} must have format {FORMAT_VERSION} or older, but has {number}; update nas to read it."
        )
    if number is True or number != FORMAT_VERSION or not _is_schema(metadata.get("schema")):
        raise ExportError(
            f"the metadata of {name} must hold a format and a schema, but they are malformed; export it again."
        )
    return metadata


def _is_schema(schema: Any) -> bool:
    """Whether ``schema`` has the parts of ``Dataset.schema()``, each of its type and fitting the others."""
    kinds = {"tabular": {"numeric", "categorical"}, "image": {"image"}, "series": {"series"}}
    sides = {"image": 3, "series": 2}
    try:
        features, levels, shape, classes = schema["features"], schema["levels"], schema["shape"], schema["classes"]
        return (
            bool(features)
            and set(features) <= kinds[schema["kind"]]
            and all(map(_words, [*features.values(), *levels, classes, list(schema["dates"].values())]))
            and len(levels) == len(features.get("categorical", []))
            and (
                shape is None
                if schema["kind"] == "tabular"
                else [type(size) for size in shape] == [int] * sides[schema["kind"]]
            )
            and schema["task"] == ("classification" if classes else "regression")
        )
    except (TypeError, LookupError, AttributeError):
        return False


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _check_ends(session: onnxruntime.InferenceSession, schema: Mapping[str, Any], name: str) -> None:
    """Refuses a network whose inputs and outputs are not those of its schema."""
    wanted = {key: (TYPES[key], schema["shape"] or [len(names)]) for key, names in schema["features"].items()}
    found = {end.name: (end.type, end.shape[1:]) for end in session.get_inputs()}
    outputs = [(end.name, end.shape[1:]) for end in session.get_outputs()]
    classes = len(schema["classes"])
    if found != wanted or outputs != (
        [("label", []), ("probabilities", [classes])] if classes else [("prediction", [])]
    ):
        raise ExportError(
            f"the network in {name} must take and give what its schema says, but it does not; export it again."
        )


# --- rows in, table out -----------------------------------------------------------------------------------------------


def _raw_rows(
    path: Path, model: ExportedModel, say: Callable[[str], None] | None
) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Returns the raw inputs in ``path``, and for a folder of images the file of each row."""
    from nas.dataset import encode_rows
    from nas.dataset.images import SUFFIXES

    try:
        if model.schema["kind"] != "image" or not path.is_dir():
            return encode_rows(path, model.schema, say), None
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(
                f"a folder of images must hold files {', '.join(SUFFIXES)}, but {str(path)!r} has none; check the path."
            )
        return encode_rows(files, model.schema), [str(file.relative_to(path)) for file in files]
    except (LookupError, TypeError) as error:  # parts of the schema that do not belong together
        raise ExportError(
            f"the schema in the model must describe its columns, but reading {path.name} by it fails"
            f" ({_first_line(error)}); export the model again."
        ) from error


def _frame(output: np.ndarray, classes: list[str], files: list[str] | None) -> pandas.DataFrame:
    import pandas

    columns: dict[str, Any] = {} if files is None else {"file": files}
    if classes:
        columns["prediction"] = np.array(classes, dtype=object)[output.argmax(axis=1)]
        columns |= {f"probability_{name}": output[:, code] for code, name in enumerate(classes)}
    else:
        columns["prediction"] = output
    return pandas.DataFrame(columns)


def to_json(frame: pandas.DataFrame) -> str:
    """Returns predictions as a JSON list of objects, a row a line; NaN is null."""
    import pandas

    rows = frame.astype(object).where(pandas.notna(frame), None).to_dict("records")
    return "[" + ",\n ".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "]\n"


def _write(frame: pandas.DataFrame, out: Path) -> None:
    """Writes predictions in the format of ``out``'s suffix."""
    with placed(out) as temporary:
        if out.suffix.lower() == ".csv":
            frame.to_csv(temporary, index=False)
        elif out.suffix.lower() == ".json":
            temporary.write_text(to_json(frame), encoding="utf-8")
        else:
            frame.to_parquet(temporary, index=False)


def _checked_out(out: Path, others: tuple[Path, ...]) -> Path:
    if out.suffix.lower() not in OUT_SUFFIXES:
        raise ExportError(
            f"predictions are written to a file ending in {', '.join(OUT_SUFFIXES)}, but got {str(out)!r};"
            f"{nearest(out.suffix, OUT_SUFFIXES)} give it one of these."
        )
    if any(out.resolve() == other.resolve() for other in others):
        raise ExportError(
            f"predictions must not overwrite their own input, but got {str(out)!r} for both; choose another name."
        )
    check_place(out)
    return out
