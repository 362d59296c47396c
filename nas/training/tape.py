"""One forward pass of K equal networks, node after node, and its gradients in reverse.

Here belongs the order in which forms are called and how values and gradients meet at joins. What one place computes
belongs to ``forms``, where parameters lie to ``optimizer``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from nas import layers
from nas.model import Network, Step
from nas.training.forms import ALL, FORGET, Columns, Form, folds, has_parameters

Give: TypeAlias = Callable[[Tensor], None]
Gradients: TypeAlias = list[Tensor | None]
Back: TypeAlias = Callable[[Tensor, Gradients], None]  # takes the gradient of a node's value, adds to those of sources


@dataclass(frozen=True)
class _Source:
    """An edge: the node it comes from, how often it counts, its adapter, and what wants a gradient."""

    node: int
    times: int
    adapter: Form | None
    wanted: Columns  # of the node it comes from
    moves: bool  # the node or the adapter learns


@dataclass(frozen=True)
class _Node:
    """A node: the view it is, or its form, sources and join; ``wanted`` of what they join to has a gradient."""

    view: str | None = None
    form: Form | None = None
    sources: tuple[_Source, ...] = ()
    join: str = "add"
    wanted: Columns = None

    @property
    def plain(self) -> bool:
        """Whether it takes one value as it is."""
        return len(self.sources) == 1 and self.sources[0].times == 1 and self.sources[0].adapter is None


class Tape:
    """What networks compute, in order; ``forms`` by the path of their module."""

    def __init__(self, network: Network, forms: Mapping[str, Form]) -> None:
        self.nodes: list[_Node] = []
        wanted: list[Columns] = []  # of the value of each node
        scales = folded(network).values()
        for step in network.steps[:-1]:
            if step.operation == "input":
                self.nodes.append(_Node(view=str(network.architecture.nodes[step.node].parameters[0][1])))
                wanted.append(None)
                continue
            sources = tuple(_source(network, forms, step, *each, wanted) for each in step.sources)
            path, columns = f"nodes.{step.node}", _wanted(network, step, sources)
            self.nodes.append(_Node(None, forms[path], sources, step.join, columns))
            learns = columns or has_parameters(network.nodes[str(step.node)])
            wanted.append(columns if path in scales else ALL if learns else None)
        self.heads = [(n, times, forms[f"heads.{n}"], wanted[n]) for n, times in network.steps[-1].sources]
        self.wanted = wanted
        self._computes = [(node, _plainly if node.plain else _joined) for node in self.nodes]

    def __call__(self, views: Mapping[str, Tensor]) -> tuple[Tensor, Give]:
        """Returns the answers [K, b, outputs] to views [K, b, ...], and what takes the gradient of that."""
        values: list[Tensor] = []
        backs: list[Back | None] = []
        for node, compute in self._computes:
            value, back = (views[node.view], None) if node.view is not None else compute(node, values)
            values.append(value)
            backs.append(back)
        total: Tensor | None = None
        ends = []
        for source, times, form, wanted in self.heads:
            part, end = form(values[source], wanted)
            part = part if times == 1 else times * part
            total = part if total is None else total + part
            ends.append((source, times, end))
        assert total is not None

        def backward(gradient: Tensor) -> None:
            gradients: Gradients = [None] * len(values)
            for source, times, end in ends:
                found = end(gradient if times == 1 else times * gradient)
                if found is not None:
                    _give(gradients, source, found)
            for number in range(len(values) - 1, -1, -1):
                back, found = backs[number], gradients[number]
                if back is not None and found is not None and self.wanted[number]:
                    gradients[number] = None
                    back(found, gradients)

        return total, backward


def folded(network: Network) -> dict[str, str]:
    """Returns the paths of nodes that take over a ``FeatureScale`` nobody else reads, and that of the scale."""
    return {
        f"nodes.{reader}": f"nodes.{node}"
        for node, reader in _read_once(network).items()
        if isinstance(network.nodes[str(node)], layers.FeatureScale) and folds(network.nodes[str(reader)])
    }


def overwriting(network: Network) -> set[str]:
    """Returns the paths of nodes that may overwrite what they read."""
    once = _read_once(network).items()
    return {f"nodes.{reader}" for node, reader in once if type(network.nodes[str(node)]) in FORGET}


def looked_up(network: Network) -> set[str]:
    """Returns the one-hot views that embeddings alone read, which are then given the numbers of levels."""
    names = {
        step.node: str(network.architecture.nodes[step.node].parameters[0][1])
        for step in network.steps
        if step.operation == "input"
    }
    others = {
        source
        for step in network.steps
        for source, times in step.sources
        if step.sources != ((source, 1),)
        or step.operation == "output"
        or type(network.nodes[str(step.node)]) is not layers.CategoryEmbedding
    }
    return {name for node, name in names.items() if node not in others}


def _read_once(network: Network) -> dict[int, int]:
    """Returns for each node that another one alone reads, and nothing besides it, that other one."""
    readers: dict[int, list[Step]] = {}
    for step in network.steps:
        for source, _ in step.sources:
            readers.setdefault(source, []).append(step)
    return {
        source: some[0].node
        for source, some in readers.items()
        if str(source) in network.nodes
        and len(some) == 1
        and some[0].sources == ((source, 1),)
        and some[0].operation != "output"
    }


def _source(
    network: Network, forms: Mapping[str, Form], step: Step, node: int, times: int, wanted: Sequence[Columns]
) -> _Source:
    name = f"{node}_{step.node}"
    learned = name in network.adapters and has_parameters(network.adapters[name])
    return _Source(node, times, forms.get(f"adapters.{name}"), wanted[node], learned or wanted[node] is not None)


def _wanted(network: Network, step: Step, sources: Sequence[_Source]) -> Columns:
    """Returns the columns of what sources join to from the first that learns to the last."""
    if len(sources) == 1 and sources[0].adapter is None and sources[0].times == 1:
        return sources[0].wanted
    if step.join == "add" or len(step.joined) > 1:
        return ALL if any(source.moves for source in sources) else None
    ends = accumulate([s.times * math.prod(network.steps[s.node].shape) for s in sources], initial=0)
    moving = [part for part, source in zip(pairwise(ends), sources, strict=True) if source.moves]
    return slice(moving[0][0], moving[-1][1]) if moving else None


def _plainly(node: _Node, values: Sequence[Tensor]) -> tuple[Tensor, Back]:
    """Returns the value of a node with one source, and what passes a gradient on."""
    assert node.form is not None
    source, wanted = node.sources[0].node, node.wanted
    value, back = node.form(values[source], wanted)

    def through(gradient: Tensor, gradients: Gradients) -> None:
        found = back(gradient)
        if wanted and found is not None:
            _give(gradients, source, found)

    return value, through


def _joined(node: _Node, values: Sequence[Tensor]) -> tuple[Tensor, Back]:
    """Returns the value of a node whose sources meet, and what shares out a gradient."""
    assert node.form is not None
    parts, backs = [], []
    for source in node.sources:
        value = values[source.node]
        part, back = (value, None) if source.adapter is None else source.adapter(value, source.wanted)
        parts.append(part)
        backs.append(back)
    repeated = [(part, source.times) for part, source in zip(parts, node.sources, strict=True)]
    if node.join == "concat":
        joined = torch.cat([part for part, times in repeated for _ in range(times)], dim=2)
    else:
        joined = _total([part if times == 1 else times * part for part, times in repeated])
    widths = [part.shape[2] for part in parts]
    starts = list(accumulate((width * s.times for width, s in zip(widths, node.sources, strict=True)), initial=0))
    value, back_of_node = node.form(joined, node.wanted)

    def through(gradient: Tensor, gradients: Gradients) -> None:
        found = back_of_node(gradient)
        if found is None or not node.wanted:
            return
        moving = [place for place in zip(node.sources, backs, starts, widths, strict=False) if place[0].moves]
        first = starts[0] if found.shape == joined.shape else moving[0][2]  # column of the gradient
        for number, (source, back, start, width) in enumerate(moving):
            if node.join == "concat":
                share = _total([found.narrow(2, start - first + width * i, width) for i in range(source.times)])
            else:
                share = found if source.times == 1 else source.times * found
                if share is found and number + 1 < len(moving):
                    share = share.clone()  # because it may be overwritten
            passed = share if back is None else back(share)
            if source.wanted and passed is not None:
                _give(gradients, source.node, passed)

    return value, through


def _give(gradients: Gradients, node: int, gradient: Tensor) -> None:
    """Adds to the gradient of a node's value."""
    before = gradients[node]
    gradients[node] = gradient if before is None else before + gradient


def _total(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
