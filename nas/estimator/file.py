"""A fitted network as bytes and back: safetensors, whose header carries one JSON text; nothing in it is executed.

Here belongs the format and the suspicion with which it is read. The JSON holds ``format`` (an integer; newer is
refused), ``record`` (the candidate, its architecture by names), ``schema`` (how rows are read), ``columns``,
``preprocess`` (names and shapes of views), ``explanation`` and ``estimator`` (whatever its caller keeps); the tensors
are those of ``Predictor.state_dict()``. Training rows are in none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import ExportError, NasError
from nas.estimator.fitted import Fitted
from nas.operations import BUILTIN, Operation

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nas.model import Predictor
    from nas.preprocess import Preprocess
    from nas.record import Record

KEY = "nas.estimator"
FORMAT = 1


def to_bytes(fitted: Fitted, estimator: Mapping[str, Any]) -> bytes:
    """Returns the file: ``fitted`` and, as JSON, ``estimator``."""
    from safetensors.torch import save

    preprocess = fitted.predictor.preprocess
    content = {
        "format": FORMAT,
        "record": fitted.record.to_dict(),
        "schema": dict(fitted.schema),
        "columns": None if fitted.columns is None else list(fitted.columns),
        "preprocess": {
            "raw": list(preprocess.raw),
            "shapes": {name: list(shape) for name, shape in preprocess.shapes.items()},
            "views": list(preprocess.views),
        },
        "explanation": {
            "weights": dict(fitted.explanation.weights),
            "own": fitted.explanation.own,
            "ignored": dict(fitted.explanation.ignored),
            "notes": list(fitted.explanation.notes),
            "turned": fitted.explanation.turned,
        },
        "estimator": dict(estimator),
    }
    tensors = {name: value.detach().contiguous().clone() for name, value in fitted.predictor.state_dict().items()}
    written: bytes = save(tensors, metadata={KEY: json.dumps(content, sort_keys=True)})
    return written


def from_bytes(content: bytes, name: str, operations: Mapping[str, Operation] = BUILTIN) -> tuple[Fitted, Any]:
    """Returns what ``to_bytes`` was given; ``name`` is what messages call the file.

    Raises:
        ExportError: the bytes are damaged, of another format, newer, or name an operation that ``operations`` lacks.
    """
    from nas.controllers import Explanation
    from nas.record import Record

    words, tensors = _opened(content, name)
    try:
        record = Record.from_dict(words["record"])
        explanation = Explanation(
            {str(key): float(share) for key, share in words["explanation"]["weights"].items()},
            float(words["explanation"]["own"]),
            {str(key): str(reason) for key, reason in words["explanation"]["ignored"].items()},
            tuple(map(str, words["explanation"]["notes"])),
            turned=float(words["explanation"].get("turned", 0.0)),  # older files do not say
        )
        columns = None if words["columns"] is None else tuple(map(str, words["columns"]))
        predictor = _predictor(record, words, tensors, operations)
        fitted = Fitted(predictor, words["schema"], columns, record, explanation)
        _try(fitted, words["schema"])
        return fitted, words["estimator"]
    except NasError as error:
        raise ExportError(f"{name} must hold a network this library can build, but {error}") from error
    except Exception as error:  # a file by a stranger can be wrong in any way
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        raise ExportError(f"{name} must hold a whole estimator, but its content is malformed ({reason}).") from error


def _opened(content: bytes, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Returns the JSON and the tensors of a file of a format that is known."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(content[:8], "little")
        header: Any = json.loads(content[8 : 8 + size]) if size <= len(content) else None
        words = json.loads(header["__metadata__"][KEY])
        found = words["format"]
        tensors = load(content)
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise ExportError(
            f"{name} must be a file that an estimator's save wrote, but it is damaged or of another format; save again."
        ) from error
    if type(found) is int and found > FORMAT:
        raise ExportError(f"{name} must have format {FORMAT} or older, but has {found}; update nas to read it.")
    if type(found) is not int or found != FORMAT:
        raise ExportError(f"{name} must have format {FORMAT}, but has {found!r}; save it again.")
    return words, tensors


def _predictor(
    record: Record, words: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], operations: Mapping[str, Operation]
) -> Predictor:
    """Returns the network of the record with these tensors; nothing larger than they are is allocated."""
    from nas.model import Predictor, Signature, build, parameters

    schema = words["schema"]
    shapes = {str(name): tuple(shape) for name, shape in words["preprocess"]["shapes"].items()}
    signature = Signature(shapes, len(schema["classes"]) or 1)
    given = sum(tensor.numel() for key, tensor in tensors.items() if key.startswith("network."))
    needed = parameters(record.architecture, signature, operations)
    if needed > given:
        raise ExportError(f"its architecture has {needed:,} parameters and the file {given:,}; save it again.")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ExportError("a weight is not finite; save it again.")
    network = build(record.architecture, signature, operations, seed=0)
    predictor = Predictor(_preprocess(words, shapes, tensors), network, schema["task"])
    predictor.load_state_dict(dict(tensors), strict=True)
    return predictor.eval()


def _preprocess(
    words: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, torch.Tensor]
) -> Preprocess:
    """Returns the layers before the network, whose buffers have the sizes of those in the file."""
    from nas.preprocess import Categorical, Numeric, Pixels, Preprocess, Steps

    raw, schema = tuple(map(str, words["preprocess"]["raw"])), words["schema"]
    parts: dict[str, nn.Module] = {}
    for part in raw:
        prefix = f"preprocess.parts.{part}."
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if part == "numeric":
            parts[part] = Numeric(np.zeros((1, len(own["center"])), dtype=np.float32))
            fits = len(own["center"]) == len(schema["features"]["numeric"])
        elif part == "categorical":
            sizes = [len(level) for level in schema["levels"]]
            categorical = Categorical(np.full((1, len(sizes)), -1, dtype=np.int64), sizes)
            categorical.width = len(own["slots"])
            parts[part] = categorical
            fits = own["sizes"].tolist() == sizes and len(sizes) == len(schema["features"]["categorical"])
        elif part == "series":
            channels, steps = len(own["mean"]), shapes["x"][2]
            gaps = shapes["x"][0] == channels + 1
            parts[part] = Steps(np.zeros((1, channels, 1), dtype=np.float32), gaps)
            fits = [channels, steps] == schema["shape"] and shapes["x"][:2] == (channels + gaps, 1)
        else:
            parts[part] = Pixels(np.zeros((1, 1, 1, len(own["mean"])), dtype=np.uint8))
            fits = [shapes["x"][axis] for axis in (1, 2, 0)] == schema["shape"]
        if not fits:
            raise ExportError(f"its {part} columns are not those of its schema; save it again.")
        for name, buffer in list(parts[part].named_buffers()):
            if own[name].dtype != buffer.dtype or own[name].dim() != buffer.dim():
                raise ExportError(f"{prefix}{name} has the wrong type; save it again.")
            parts[part].register_buffer(name, own[name])
    preprocess = Preprocess(raw, parts, shapes)
    return preprocess.only([str(view) for view in words["preprocess"]["views"]])


def _try(fitted: Fitted, schema: Mapping[str, Any]) -> None:
    """Predicts a row of gaps and one of the last levels, so that sizes that do not fit are found here."""
    from nas.dataset.value import KINDS

    rows: dict[str, np.ndarray] = {}
    for key, names in schema["features"].items():
        if key not in KINDS[schema["kind"]]:
            raise ExportError(f"the input {key!r} is unknown; save it again.")
        if key == "image":
            rows[key] = np.zeros((2, *schema["shape"]), dtype=np.uint8)
        elif key == "series":
            rows[key] = np.stack([np.full(schema["shape"], fill, dtype=np.float32) for fill in (np.nan, 0.0)])
        elif key == "numeric":
            rows[key] = np.array([[np.nan] * len(names), [0.0] * len(names)], dtype=np.float32)
        else:
            rows[key] = np.array([[-1] * len(names), [len(level) - 1 for level in schema["levels"]]], dtype=np.int64)
    found = fitted.predict(rows)
    if found.shape != ((2, len(schema["classes"])) if schema["classes"] else (2,)):
        raise ExportError(f"two rows give predictions of shape {found.shape}; save it again.")
