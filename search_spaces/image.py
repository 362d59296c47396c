"""Convolutional chains for small images: stages of equal blocks, halving the resolution between them."""

from __future__ import annotations

from nas.space import Choice, Integer, Op, Repeat, SearchSpace

ACTIVATION = Choice("relu", "silu", "mish", name="activation")


def _block(name: str, convolution: str = "conv3x3", *, residual: bool = False) -> SearchSpace:
    """A block that keeps the resolution: convolution, batch norm, activation; x + f(x) where residual."""
    block = SearchSpace(name)
    block.add_input("x")
    block.add_node("convolution", convolution)
    block.add_node("norm", "batch_norm")
    block.add_node("activation", ACTIVATION)
    block.add_output("y")
    block.add_edge("x", "convolution")
    block.add_edge("convolution", "norm")
    block.add_edge("norm", "activation")
    block.add_edge("activation", "y")
    if residual:
        block.add_edge("x", "y")
    return block


def image(*, stages: int = 2, reduce_stem: bool = False, classification: bool = True) -> SearchSpace:
    """The search space for images of one size.

    Args:
        stages: Number of stages; each but the last ends in a pooling that halves height and width.
        reduce_stem: Whether the stem halves the resolution too, for larger images.
        classification: Whether labels are classes, so that they can be smoothed.
    """
    space = SearchSpace("image")
    space.add_input("x")
    stem = _block("stem")
    space.add_node("stem", stem, width=Choice(16, 8, 32))
    space.add_edge("x", "stem")
    last = "stem"
    if reduce_stem:
        space.add_node("stem_pool", "max_pool2x2")
        space.add_edge("stem", "stem_pool")
        last = "stem_pool"
    for stage in range(1, stages + 1):
        blocks = Choice(_block("plain"), _block("residual", residual=True), _block("separable", "separable3x3"))
        name = f"stage{stage}"
        scale = 2 ** (stage - 1)  # as the resolution falls, so that no stage dominates the cost
        widths = Choice(16 * scale, 8 * scale, 32 * scale)
        space.add_node(name, Repeat(blocks, Integer(1, 2, default=1)), width=widths)
        space.add_edge(last, name)
        last = name
        if stage < stages:
            space.add_node(f"pool{stage}", Choice("max_pool2x2", Op("avg_pool3x3", stride=2)))
            space.add_edge(name, f"pool{stage}")
            last = f"pool{stage}"
    space.add_node("dropout", "dropout")
    space.add_output("y")
    space.add_edge(last, "dropout")
    space.add_edge("dropout", "y")
    space.add_setting("learning_rate", Choice(0.01, 0.03, 0.08, 0.2, default=0.03))
    space.add_setting("weight_decay", Choice(0.0, 0.02, 0.1, default=0.02))
    space.add_setting("dropout", Choice(0.0, 0.1, 0.25, 0.5, default=0.0))
    if classification:
        space.add_setting("label_smoothing", Choice(0.0, 0.1, default=0.0))
    space.add_setting("shift", Choice(0.0, 0.06, 0.125, default=0.0))
    space.add_setting("flip", Choice(0.0, 0.5, default=0.0))  # harms digits and letters: found out by the search
    return space
