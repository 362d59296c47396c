"""The ``Network`` class of a stand-alone file: layers by name, ``forward`` in order, and the weights under those names.

Here belongs the text of one network. How the nodes of an architecture are joined is decided by ``nas.model``; the check
of the written file against the network holds the two together.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas import layers
from nas.errors import ArchitectureError, ExportError
from nas.export.python import builder
from nas.export.python.sources import Sources, constant_text, scope_of
from nas.model import find
from nas.operations import BUILTIN, Operation

if TYPE_CHECKING:
    from nas.model import Predictor, Step

VIEW_NAMES = {
    "numeric": "scaled",
    "quantile": "quantiles",
    "missing": "gaps",
    "onehot": "onehot",
    "categorical": "levels",
}
PART_NAMES = {"numeric": "numbers", "categorical": "words", "image": "pixels", "series": "steps"}


@dataclass
class _Writing:
    """A class in the making: the lines of ``__init__`` and ``forward``, and where each weight goes."""

    sources: Sources
    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)  # prefix in the predictor -> prefix in the file
    layers: int = 0

    def layer(self, name: str, module: str, prefix: str) -> str:
        """Adds a layer, whose weights are those under ``prefix``; returns how ``forward`` calls it."""
        self.init.append(f"self.{name} = {module}")
        self.renamed[prefix] = name
        return f"self.{name}"


def write_network(
    predictor: Predictor, operations: Mapping[str, Operation], sources: Sources
) -> tuple[str, dict[str, Tensor]]:
    """Returns the text of the class ``Network``, and its weights by name; what it needs is added to ``sources``.

    Raises:
        ExportError: the source of an operation is not at hand, or needs more than torch.
    """
    writing = _Writing(sources)
    for name in ("torch", "nn", "Tensor"):
        sources.bind(name, globals()[name], write_network)
    views = _write_views(predictor, writing)
    values = _write_nodes(predictor, operations, views, writing)
    _write_output(predictor, values, writing)
    architecture, raw = predictor.network.architecture, predictor.preprocess.raw
    result = "probabilities [rows, classes]" if predictor.task == "classification" else "values [rows]"
    text = "\n".join(
        [
            "class Network(nn.Module):",
            f'    """{plain(architecture.summary())}: raw rows to {result}."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *(f"        {line}" for line in writing.init),
            "",
            f"    def forward({', '.join(['self', *(f'{name}: Tensor' for name in raw)])}) -> Tensor:",
            f'        """Maps raw rows to {result}."""',
            *(line for text in writing.forward for line in _wrapped(text)),
            "",
        ]
    )
    return text, _weights(predictor, writing.renamed)


def _wrapped(line: str) -> list[str]:
    """Returns a line of ``forward``, broken inside its brackets where it is long."""
    return textwrap.wrap(line, 112, initial_indent=" " * 8, subsequent_indent=" " * 12, break_long_words=False)


def plain(text: str) -> str:
    """Returns ``text`` for comments: printable, on one line, without quotes and backslashes."""
    return re.sub(r"[\\\"']", "", "".join(char if char.isprintable() else " " for char in text)).strip()


# --- views ------------------------------------------------------------------------------------------------------------


def _write_views(predictor: Predictor, writing: _Writing) -> dict[str, str]:
    """Writes the preprocessing; returns the variable of each view that the network reads."""
    preprocess = predictor.preprocess
    views: dict[str, str] = {}
    methods: dict[str, list[str]] = {}

    def view(name: str) -> str:
        if name not in views:
            views[name] = "x" if name == "x" else VIEW_NAMES.get(name, f"view_{len(views)}")
            if name == "x" and preprocess.raw[0] not in ("image", "series"):
                parts = [view(part) for part in ("numeric", "missing", "onehot") if part in preprocess.shapes]
                if len(parts) == 1:
                    views["x"] = parts[0]
                else:
                    writing.forward.append(f"x = {_concatenated(parts)}")
            else:
                writing.forward.append(f"{views[name]} = {read(name)}")
        return views[name]

    def read(name: str) -> str:
        source = preprocess.raw[0] if name == "x" else "categorical" if name in ("onehot", "categorical") else "numeric"
        method = "forward" if name == "x" else name
        if method not in methods.setdefault(source, []):
            methods[source].append(method)
        return f"self.{PART_NAMES[source]}{'' if method == 'forward' else f'.{method}'}({source})"

    for name in predictor.network.architecture.inputs:
        view(name)
    for source, used in methods.items():
        part = preprocess.parts[source]
        text, state = _part_class(part, used, writing.sources)
        name = writing.sources.define(type(part).__name__, text)
        writing.init.append(f"self.{PART_NAMES[source]} = {name}()")
        writing.renamed |= {f"preprocess.parts.{source}.{key}": f"{PART_NAMES[source]}.{key}" for key in state}
    return views


def _part_class(part: nn.Module, methods: Sequence[str], sources: Sources) -> tuple[str, list[str]]:
    """Returns the class of a fitted layer, its numbers as buffers and the methods used; and the numbers' names."""
    kind = type(part)
    texts: dict[str, str] = {}
    state: list[str] = []
    waiting = list(methods)
    while waiting:
        name = waiting.pop(0)
        texts[name] = textwrap.dedent(inspect.getsource(getattr(kind, name)))
        sources.need(texts[name], scope_of(kind), kind)
        for node in ast.walk(ast.parse(texts[name])):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                if inspect.isfunction(getattr(kind, node.attr, None)):
                    waiting += [node.attr] if node.attr not in (*texts, *waiting) else []
                elif node.attr not in state:
                    state.append(node.attr)
    says = plain((inspect.getdoc(kind) or kind.__name__).partition("\n\n")[0])
    lines = [f"class {kind.__name__}(nn.Module):", f'    """{says}"""', ""]
    lines += ["    def __init__(self) -> None:", "        super().__init__()"]
    lines += [f"        {_attribute(part, name)}" for name in sorted(state)]
    for text in texts.values():
        lines += ["", textwrap.indent(text.rstrip(), "    ")]
    return "\n".join(lines) + "\n", state


def _attribute(part: nn.Module, name: str) -> str:
    value = getattr(part, name)
    if isinstance(value, Tensor):
        dtype = "" if value.dtype == torch.float32 else f", dtype={value.dtype}"
        size = ", ".join(map(str, value.shape)) or "()"
        return f'self.register_buffer("{name}", torch.zeros({size}{dtype}))'
    constant = constant_text(value)
    if constant is None:
        raise ExportError(
            f"the preprocessing is written into a .py where it is numbers, but `{name}` of {type(part).__name__} is a"
            f" {type(value).__name__}; export .onnx or .pt2, and report this as a bug."
        )
    return f"self.{name} = {constant}"


# --- nodes ------------------------------------------------------------------------------------------------------------


def _write_nodes(
    predictor: Predictor, operations: Mapping[str, Operation], views: Mapping[str, str], writing: _Writing
) -> dict[str, str]:
    """Writes the layers between the views and the output; returns the variable of every node, by its number."""
    network = predictor.network
    values: dict[str, str] = {}
    for step in network.steps:
        node = network.architecture.nodes[step.node]
        if step.operation == "input":
            values[str(step.node)] = views[str(dict(node.parameters)["name"])]
        elif step.operation != "output":
            writing.layers += 1
            joined = _joined(network.steps, step, values, network.adapters, writing)
            try:
                operation = find(node, operations)
            except ArchitectureError as error:
                raise ExportError(f"a stand-alone .py needs the source of every operation, but {error}") from error
            module = network.nodes[str(step.node)]
            text = _known(module, operation) or builder.call(
                operation.build, step.joined, dict(node.parameters), writing.sources
            )
            name = f"{re.sub(r'[^0-9a-zA-Z_]+', '_', step.operation)[:40].strip('_') or 'layer'}_{writing.layers}"
            name = name if name.isidentifier() else f"layer_{name}"
            layer = writing.layer(name, text, f"network.nodes.{step.node}")
            values[str(step.node)] = f"h{writing.layers}"
            writing.forward.append(f"h{writing.layers} = {layer}({joined})")
    return values


def _known(module: nn.Module, operation: Operation) -> str | None:
    """Returns torch's own layer where ours differs from it in training alone."""
    if operation is BUILTIN.get("dropout") and isinstance(module, layers.Dropout):
        return f"nn.Dropout({module.p})"
    return "nn.Mish()" if operation is BUILTIN.get("mish") else None


def _joined(
    steps: Sequence[Step], step: Step, values: Mapping[str, str], adapters: nn.ModuleDict, writing: _Writing
) -> str:
    """Returns the expression for what a node's operation is applied to, after adding the layers it needs."""
    parts: list[str] = []
    for source, times in step.sources:
        part = values[str(source)]
        name = f"{source}_{step.node}"
        if name in adapters:
            text = _adapter(adapters[name], steps[source].shape, step.aligned, writing.sources)
            shortcut = f"shortcut_{writing.layers}" + (f"_{len(parts) + 1}" if len(step.sources) > 1 else "")
            part = f"{writing.layer(shortcut, text, f'network.adapters.{name}')}({part})"
        if times > 1 and step.join == "concat":
            part = f"{part}.repeat({', '.join(map(str, (1, times, *(1 for _ in step.joined[1:]))))})"
        elif times > 1:
            part = f"{times} * {part}"
        parts.append(part)
    return _concatenated(parts) if step.join == "concat" else " + ".join(parts)


def _concatenated(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"torch.cat(({', '.join(parts)}), dim=1)"


def _adapter(module: nn.Module, shape: tuple[int, ...], aligned: tuple[int, ...], sources: Sources) -> str:
    """Returns the expression for a module that brings one shape to another (``nas.model``)."""
    match module:
        case nn.Sequential():
            return f"nn.Sequential({', '.join(_adapter(part, shape, aligned, sources) for part in module)})"
        case nn.Linear():
            bias = "" if module.bias is not None else ", bias=False"
            return f"nn.Linear({module.in_features}, {module.out_features}{bias})"
        case nn.Conv2d():
            return f"nn.Conv2d({module.in_channels}, {module.out_channels}, 1, bias=False)"
        case nn.Flatten():
            return "nn.Flatten()"
        case layers.GlobalAvgPool():
            return f"{sources.add(layers.GlobalAvgPool)}()"
        case layers.Resize():
            return f"{sources.add(layers.Resize)}({tuple(shape[1:])}, {tuple(aligned[1:])})"
    raise ExportError(
        f"a stand-alone .py knows the layers of joins, but not {type(module).__name__}; export .onnx or .pt2, and"
        " report this as a bug."
    )


def _write_output(predictor: Predictor, values: Mapping[str, str], writing: _Writing) -> None:
    """Writes the maps of the output's predecessors, their sum, and what it means."""
    network = predictor.network
    step = network.steps[-1]
    parts = []
    for number, (source, times) in enumerate(step.sources, start=1):
        text = _adapter(network.heads[str(source)], network.steps[source].shape, (0,), writing.sources)
        name = "output" if len(step.sources) == 1 else f"output_{number}"
        part = f"{writing.layer(name, text, f'network.heads.{source}')}({values[str(source)]})"
        parts.append(part if times == 1 else f"{times} * {part}")
    if network.bias is not None:
        writing.init.append(f"self.bias = nn.Parameter(torch.zeros({len(network.bias)}))")
        writing.renamed["network.bias"] = "bias"
        parts = [f"self.bias.expand(len({predictor.preprocess.raw[0]}), -1)"]
    total = " + ".join(parts)
    if predictor.task == "classification":
        writing.forward.append(f"return torch.softmax({total}, dim=1)")
        return
    for name in ("mean", "std"):
        writing.init.append(f'self.register_buffer("{name}", torch.zeros(()))')
        writing.renamed[name] = name
    writing.forward += [
        f"value = ({total})" if len(parts) > 1 else f"value = {total}",
        "return value[:, 0] * self.std + self.mean",
    ]


def _weights(predictor: Predictor, renamed: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns the tensors of ``predictor`` under the names of the file."""
    weights = {}
    for name, tensor in predictor.state_dict().items():
        for prefix, new in renamed.items():
            if name == prefix or name.startswith(f"{prefix}."):
                weights[new + name[len(prefix) :]] = tensor.detach().cpu().contiguous().clone()
    return weights
