"""Convolutions over time for series: stages of equal blocks, each but the last followed by a pool over steps.

The blocks are those of the field's networks: plain and residual (Wang et al. 2017, "Time series classification from
scratch"), several kernels side by side (InceptionTime: Ismail Fawaz et al. 2020), depthwise separable. What is read out
is the mean or the largest value over steps, or every step in its place where the position matters.
"""

from __future__ import annotations

from itertools import pairwise

from nas.space import Choice, Integer, Op, Repeat, SearchSpace

ACTIVATION = Choice("relu", "silu", "mish", name="activation")
NORM = Choice("batch_norm", "layer_norm", name="norm")
STEPS = 128  # after the stem, about; longer series are shortened by its stride


def _block(name: str, convolution: str = "conv1d", *, residual: bool = False) -> SearchSpace:
    """A block that keeps the number of steps: convolution, norm, activation; x + f(x) where residual."""
    block = SearchSpace(name)
    block.add_input("x")
    block.add_node("convolution", Op(convolution, kernel=Choice(7, 3, 15), dilation=Choice(1, 2, 4)))
    block.add_output("y")
    _normed(block, "convolution")
    block.add_edge("x", "convolution")
    if residual:
        block.add_edge("x", "y")
    return block


def _several() -> SearchSpace:
    """Three kernels side by side and summed, then norm and activation."""
    block = SearchSpace("several")
    block.add_input("x")
    block.add_node("mixed", "identity")
    for kernel in (3, 7, 15):
        block.add_node(f"kernel{kernel}", Op("conv1d", kernel=kernel))
        block.add_edge("x", f"kernel{kernel}")
        block.add_edge(f"kernel{kernel}", "mixed")
    block.add_output("y")
    _normed(block, "mixed")
    return block


def _normed(block: SearchSpace, node: str) -> None:
    block.add_node("norm", NORM)
    block.add_node("activation", ACTIVATION)
    for source, target in pairwise((node, "norm", "activation", "y")):
        block.add_edge(source, target)


def series(*, steps: int = 128, classification: bool = True) -> SearchSpace:
    """The search space for series of one length.

    Args:
        steps: Of a series; decides the stages (1 to 3) and the stride of the stem, which leaves 100 to 200 steps.
        classification: Whether labels are classes, so that they can be smoothed.
    """
    space = SearchSpace("series")
    space.add_input("x")
    stride = min(max(1, round(steps / STEPS)), 16)
    stem = SearchSpace("stem")
    stem.add_input("x")
    stem.add_node("convolution", Op("conv1d", kernel=Choice(7, 3, 15), stride=stride))
    stem.add_output("y")
    stem.add_edge("x", "convolution")
    _normed(stem, "convolution")
    space.add_node("stem", stem, width=Choice(16, 8, 32))
    chain = ["x", "stem"]
    left = -(-steps // stride)
    stages = 1 if left < 12 else 2 if left < 48 else 3
    for stage in range(1, stages + 1):
        blocks = Choice(
            _block("residual", residual=True), _block("plain"), _several(), _block("separable", "separable1d")
        )
        scale = 2 ** (stage - 1)  # as the series gets shorter, so that no stage dominates the cost
        widths = Choice(16 * scale, 8 * scale, 32 * scale)
        space.add_node(f"stage{stage}", Repeat(blocks, Integer(1, 2, default=1)), width=widths)
        chain.append(f"stage{stage}")
        if stage < stages:
            space.add_node(f"pool{stage}", Choice(Op("max_pool1d", size=2), Op("avg_pool1d", size=2)))
            chain.append(f"pool{stage}")
    space.add_node("readout", Choice("global_avg_pool", "global_max_pool", "flatten"))
    space.add_node("dropout", "dropout")
    space.add_output("y")
    for source, target in pairwise((*chain, "readout", "dropout", "y")):
        space.add_edge(source, target)
    space.add_setting("learning_rate", Choice(0.01, 0.03, 0.08, 0.2, default=0.03))
    space.add_setting("weight_decay", Choice(0.0, 0.02, 0.1, default=0.02))
    space.add_setting("dropout", Choice(0.0, 0.1, 0.25, 0.5, default=0.1))
    if classification:
        space.add_setting("label_smoothing", Choice(0.0, 0.1, default=0.0))
    return space
