"""NAS-Bench-201 (Dong and Yang 2020): a cell of four nodes and six operations, repeated in a network for images.

Decisions are named like those of the published tables, ``op_SOURCE_TARGET``; ``NASBENCH201`` gives our names of the
five operations. Other cells of this kind are the same few lines with other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise
from types import MappingProxyType

from nas.space import Choice, Repeat, SearchSpace

NASBENCH201: Mapping[str, str] = MappingProxyType(
    {
        "none": "zero",
        "skip_connect": "identity",
        "nor_conv_1x1": "relu_conv1x1_bn",
        "nor_conv_3x3": "relu_conv3x3_bn",
        "avg_pool_3x3": "avg_pool3x3",
    }
)  # operation of the benchmark -> ours


def _cell() -> SearchSpace:
    """Nodes 0 to 3, each the sum of one operation on every earlier one; by default plain 3x3 with skips."""
    cell = SearchSpace("nasbench201_cell")
    cell.add_input("0")
    cell.add_node("1")
    cell.add_node("2")
    cell.add_output("3")
    for source, target in combinations("0123", 2):
        default = NASBENCH201["nor_conv_3x3" if int(target) == int(source) + 1 else "skip_connect"]
        operation = Choice(*NASBENCH201.values(), default=default, name=f"op_{source}_{target}")
        cell.add_edge(source, target, operation)
    return cell


def cell(channels: int = 16, cells_per_stage: int = 1) -> SearchSpace:
    """The search space: 15,625 cells, the same one in every place, times the training settings.

    Args:
        channels: Of the first stage; each of the other two has twice as many as the one before, at half the resolution.
        cells_per_stage: How often the cell is repeated in each of the three stages (the benchmark's networks: 5).
    """
    space = SearchSpace("cell")
    body = _cell()
    space.add_input("x")
    space.add_node("stem", "conv3x3", width=channels)
    space.add_node("stem_norm", "batch_norm")
    chain = ["x", "stem", "stem_norm"]
    for stage in (1, 2, 3):
        if stage > 1:
            space.add_node(f"reduction{stage - 1}", "reduction")
            chain.append(f"reduction{stage - 1}")
        space.add_node(f"stage{stage}", Repeat(body, cells_per_stage))
        chain.append(f"stage{stage}")
    space.add_node("norm", "batch_norm")
    space.add_node("activation", "relu")
    space.add_output("y")
    chain += ["norm", "activation", "y"]
    for source, target in pairwise(chain):
        space.add_edge(source, target)
    space.add_setting("learning_rate", Choice(0.01, 0.03, 0.08, 0.2, default=0.03))
    space.add_setting("weight_decay", Choice(0.0, 0.02, 0.1, default=0.02))
    return space
