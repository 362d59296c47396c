"""Two files that stand alone, NAME.py and NAME.safetensors: written, run in a process without this library, placed.

Here belongs the file as a whole: its first words, its constants, the order of its parts, and the check. The class of
the network is written by ``nas.export.python.network``.
"""

from __future__ import annotations

import hashlib
import json
import pprint
import subprocess
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nas.errors import ExportError
from nas.export.check import ExportReport, Raw, metadata, on_cpu, reason_of, verify
from nas.export.python import standalone, standalone_image, standalone_series, standalone_table
from nas.export.python.network import plain, write_network
from nas.export.python.sources import Sources
from nas.operations import BUILTIN, Operation
from nas.placed import check_place, placed, scratch

if TYPE_CHECKING:
    from nas.dataset import Dataset
    from nas.model import Predictor

GIVEN = (
    "__file__",
    "__name__",
    "NUMERIC",
    "CATEGORICAL",
    "DATES",
    "SHAPE",
    "CLASSES",
    "FINGERPRINT",
    "WEIGHTS",
    "Network",
)
SECONDS = 600  # the check may take so long


def export_python(
    predictor: Predictor,
    data: Dataset,
    path: Path,
    *,
    settings: Mapping[str, object] | None = None,
    scores: Mapping[str, object] | None = None,
    operations: Mapping[str, Operation] = BUILTIN,
) -> ExportReport:
    """Returns the report on ``path``, a .py file that agrees with ``predictor`` on raw rows of ``data``.

    The weights lie beside it as .safetensors. Both are run in a fresh process that cannot import this library before
    they appear; that takes as long as importing torch. ``predictor`` may be on any device and stays as it is.

    Raises:
        ExportError: an operation has no source that stands alone, or the files do not agree with the network; none is
            left behind.
    """
    beside = path.with_suffix(".safetensors")
    check_place(beside)
    if path.stem in sys.stdlib_module_names | {"torch", "nas"}:
        raise ExportError(
            f"a stand-alone .py must not hide a module that it needs, but {path.name!r} is named like one; choose"
            " another name."
        )
    predictor = on_cpu(predictor)
    sources = Sources(GIVEN)
    network, weights = write_network(predictor, operations, sources)
    digest = hashlib.sha256(network.encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    fingerprint = digest.hexdigest()[:16]
    text = _text(network, sources, predictor, data, path.stem, fingerprint)
    information = metadata(predictor, data, settings or {}, scores or {})
    words = {name: json.dumps(part, ensure_ascii=False, sort_keys=True) for name, part in information.items()}
    with placed(path) as code, placed(beside) as numbers:
        code.write_text(text, encoding="utf-8")
        numbers.write_bytes(_safetensors(weights, words | {"fingerprint": fingerprint}))
        names = predictor.preprocess.raw
        difference, rows = verify(lambda batches: run(code, numbers, batches, names), predictor, data)
        return ExportReport(path, code.stat().st_size + numbers.stat().st_size, difference, rows)


def _safetensors(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> bytes:
    from safetensors.torch import save

    content: bytes = save(dict(tensors), metadata=dict(words))
    return content


# --- the text ---------------------------------------------------------------------------------------------------------


def _text(network: str, sources: Sources, predictor: Predictor, data: Dataset, stem: str, fingerprint: str) -> str:
    """Returns the whole file."""
    table = data.kind == "tabular"
    module = {"tabular": standalone_table, "image": standalone_image, "series": standalone_series}[data.kind]
    functions = [standalone.load, module.predict]
    layers = dict(sources.texts)
    for function in [*functions, standalone_table.main] if table else functions:
        sources.add(function)
    library, torches = _import_lines({*sources.imports.values(), "import torch"})
    parts = [
        f'"""{_usage(predictor, data, stem)}"""\n',
        "from __future__ import annotations\n",
        "\n".join(library) + "\n",
        "\n".join(torches) + "\n",
        "\n".join(f"{name} = {value}" for name, value in _constants(data, fingerprint).items()) + "\n",
    ]
    definitions = [*layers.values(), network, *(text for name, text in sources.texts.items() if name not in layers)]
    body = "\n".join(parts) + "".join(f"\n\n{definition.strip()}\n" for definition in definitions)
    return body if not table else f'{body}\n\nif __name__ == "__main__":\n    main()\n'


def _import_lines(lines: Collection[str]) -> tuple[list[str], list[str]]:
    """Returns imports in the usual order, one line a module: those of the standard library and those of torch."""
    whole = sorted(line for line in lines if line.startswith("import"))
    named: dict[str, list[str]] = {}
    for line in sorted(set(lines) - set(whole)):
        module, _, name = line.removeprefix("from ").partition(" import ")
        named.setdefault(module, []).append(name)
    whole += [f"from {module} import {', '.join(names)}" for module, names in named.items()]
    return (
        [line for line in whole if line.split()[1].partition(".")[0] != "torch"],
        [line for line in whole if line.split()[1].partition(".")[0] == "torch"],
    )


def _constants(data: Dataset, fingerprint: str) -> dict[str, str]:
    """Returns what the names in ``GIVEN`` mean for one dataset, as source."""
    schema = data.schema()
    values: dict[str, Any] = {"CLASSES": tuple(data.classes)}
    if data.kind != "tabular":
        values["SHAPE"] = tuple(schema["shape"])
    else:
        features = schema["features"]
        words = zip(features.get("categorical", []), map(tuple, schema["levels"]), strict=True)
        values |= {"NUMERIC": tuple(features.get("numeric", [])), "CATEGORICAL": dict(words), "DATES": schema["dates"]}
    texts = {name: pprint.pformat(value, width=110, compact=True, sort_dicts=False) for name, value in values.items()}
    return texts | {"FINGERPRINT": f'"{fingerprint}"', "WEIGHTS": 'Path(__file__).with_suffix(".safetensors")'}


def _usage(predictor: Predictor, data: Dataset, stem: str) -> str:
    """Returns the words at the top of the file."""
    size = sum(parameter.numel() for parameter in predictor.network.parameters())
    name, stem = plain(data.name)[:60] or "a dataset", plain(stem)
    module = stem if stem.isidentifier() else "this_file"
    kinds = {
        "numeric": "float32 [rows, {}], NaN where missing",
        "categorical": "int64 [rows, {}], -1 where missing",
        "image": "uint8 [n, height, width, channels]",
        "series": "float32 [n, channels, steps], NaN where missing",
    }
    raw = [f"{key} {kinds[key].format(len(data.features[key]))}" for key in predictor.preprocess.raw]
    what = "the probability of each class" if data.classes else f"the value of {plain(data.target)[:60]}"
    lines = [
        f"A neural network for {name}: raw rows in, {what} out ({size:,} parameters).",
        "",
        f"It needs PyTorch alone. Its weights lie beside this file, in {stem}.safetensors.",
        "",
    ]
    if data.kind == "image":
        lines += [
            f"    from {module} import load, predict",
            "    predict(load(), images)    # uint8 [n, height, width, channels]",
        ]
    elif data.kind == "series":
        lines += [
            f"    from {module} import load, predict",
            "    predict(load(), series)    # one tensor [channels, steps] each; shorter ones are filled up",
        ]
    else:
        columns = [*data.features.get("categorical", ()), *data.features.get("numeric", ())]
        shown = [plain(column)[:30] for column in columns[:2]]
        row = ", ".join(f"<{column}>: ..." for column in shown)
        lines += [f"    python {stem}.py table.csv    # predictions for the rows of a table", ""]
        lines += [f"    from {module} import load, predict", f"    predict(load(), [{{{row}}}])"]
    takes = f"load()({', '.join(predictor.preprocess.raw)}) takes tensors: {'; '.join(raw)}."
    lines += ["", *textwrap.wrap(takes, 110), ""]
    return "\n".join(lines)


# --- the check --------------------------------------------------------------------------------------------------------

_CHECK = """
import importlib.machinery, importlib.util, json, struct, sys
code, numbers, rows, found, names = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
sys.path[:] = json.loads(sys.argv[6])
sys.dont_write_bytecode = True
for name in ("nas", "search_spaces"):
    sys.modules[name] = None  # an import of either fails
import torch
loader = importlib.machinery.SourceFileLoader("standalone", code)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("standalone", loader))
loader.exec_module(module)
network = module.load(numbers)
raw, _ = module.read_safetensors(rows)
shapes = []
with open(found, "wb") as file, torch.inference_mode():
    for number in range(len(raw) // len(names)):
        output = network(*(raw[f"{number}/{name}"] for name in names))
        shapes.append(list(output.shape))
        file.write(struct.pack(f"<{output.numel()}f", *output.flatten().tolist()))
print(json.dumps(shapes))
"""


def run(code: Path, numbers: Path, batches: Sequence[Raw], names: Sequence[str]) -> list[np.ndarray]:
    """Returns what the network in ``code`` and ``numbers`` predicts, run by a fresh Python that has torch alone.

    Raises:
        ExportError: it does not run.
    """
    rows = {
        f"{i}/{name}": torch.from_numpy(np.ascontiguousarray(raw[name]))
        for i, raw in enumerate(batches)
        for name in names
    }
    with scratch() as folder:
        given, found = folder / "rows.safetensors", folder / "found"
        given.write_bytes(_safetensors(rows, {}))
        words = [
            str(code.resolve()),
            str(numbers.resolve()),
            str(given),
            str(found),
            json.dumps(list(names)),
            json.dumps(sys.path),
        ]
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", _CHECK, *words],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(
                f"a .py is run by a fresh Python before it appears, but {reason_of(error)}; export .onnx or .pt2."
            ) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
            raise ExportError(
                f"a .py must run with torch alone, but a fresh Python says {last!r}; write the operation with torch"
                " alone, or export .onnx or .pt2."
            )
        shapes = json.loads(done.stdout.splitlines()[-1])
        values = np.frombuffer(found.read_bytes(), dtype="<f4").astype(np.float32)
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)]
