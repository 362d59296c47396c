"""Networks for tables: an embedding of the numbers, a trunk of equal blocks, a linear path round it, training settings.

The core of what tuned tabular networks differ in: piecewise-linear and periodic embeddings (Gorishniy et al. 2022),
the recipe of RealMLP (Holzmüller et al. 2024), residual blocks (Gorishniy et al. 2021), gated linear units
(Dauphin et al. 2017). Where "none" wins on some datasets, none is among the values.
"""

from __future__ import annotations

from nas.space import Choice, Integer, Op, Repeat, SearchSpace


def _block(name: str, *, gated: bool = False, residual: bool = False) -> SearchSpace:
    """A block that keeps its width: linear, norm, activation, dropout; x + f(x) where residual."""
    block = SearchSpace(name)
    block.add_input("x")
    block.add_node("linear", "gated_linear" if gated else "linear")
    block.add_node("norm", NORM)
    block.add_node("activation", "identity" if gated else ACTIVATION)
    block.add_node("dropout", "dropout")
    block.add_output("y")
    for source, target in (("x", "linear"), ("linear", "norm"), ("norm", "activation"), ("activation", "dropout")):
        block.add_edge(source, target)
    block.add_edge("dropout", "y")
    if residual:
        block.add_edge("x", "y")
    return block


def _residual() -> SearchSpace:
    """A linear map to the trunk's width, then blocks of x + f(x)."""
    trunk = SearchSpace("residual")
    trunk.add_input("x")
    trunk.add_node("stem", "linear")
    trunk.add_node("blocks", Repeat(_block("block", residual=True), DEPTH))
    trunk.add_output("y")
    for source, target in (("x", "stem"), ("stem", "blocks"), ("blocks", "y")):
        trunk.add_edge(source, target)
    return trunk


DEPTH = Integer(1, 4, default=3, name="depth")
EMBEDDED = 512  # features that bins may make of all columns together
NORM = Choice("identity", "layer_norm", name="norm")
ACTIVATION = Choice("mish", "relu", "selu", "silu", name="activation")


def tabular(
    *,
    numeric: int = True,
    missing: bool = True,
    categorical: bool = True,
    embed: bool = True,
    classification: bool = True,
) -> SearchSpace:
    """The search space for tables.

    Args:
        numeric: How many columns of numbers there are (True: some); bounds the size of their embedding.
        missing: Whether numbers may be missing; where they are, the network is told.
        categorical: Whether there are columns of categories.
        embed: Whether categories may be embedded instead of one-hot; pays only for columns of many levels.
        classification: Whether labels are classes, so that they can be smoothed.
    """
    space = SearchSpace("tabular")
    space.add_node("features", join="concat")
    space.add_node("scale", Choice("identity", "feature_scale"))
    trunks = Choice(Repeat(_block("plain"), DEPTH), _residual(), Repeat(_block("gated", gated=True), DEPTH))
    space.add_node("trunk", trunks, width=Choice(64, 128, 256, default=128))
    space.add_output("y")
    if numeric:
        space.add_input("numeric")
        space.add_input("quantile")
        periodic = Op("periodic_embedding", sigma=Choice(0.03, 0.1, 0.3, 1.0, default=0.1), size=Choice(4, 8))
        space.add_edge("numeric", "features", Choice("identity", periodic))
        sizes = [size for size in (4, 8, 16, 32) if size * numeric <= EMBEDDED] or [4]
        bins = Op("piecewise_linear", bins=Choice(*sizes, default=16 if 16 in sizes else sizes[-1]))
        space.add_edge("quantile", "features", Choice(bins, "zero"))
    if missing:
        space.add_input("missing")
        space.add_edge("missing", "features")
    if categorical:
        space.add_input("onehot")
        if embed:
            space.add_input("categorical")
            space.add_node("embedded", "category_embedding")
            space.add_edge("categorical", "embedded")
            space.add_edge(Choice("onehot", "embedded"), "features")
        else:
            space.add_edge("onehot", "features")
    space.add_edge("features", "scale")
    space.add_edge("scale", "trunk")
    space.add_edge("trunk", "y")
    space.add_edge("scale", "y", optional=True)
    space.add_setting("learning_rate", Choice(0.01, 0.03, 0.08, 0.2, default=0.03))
    space.add_setting("weight_decay", Choice(0.0, 0.02, 0.1, default=0.02))
    space.add_setting("dropout", Choice(0.0, 0.1, 0.25, 0.5, default=0.1))
    if classification:
        space.add_setting("label_smoothing", Choice(0.0, 0.1, default=0.1))
    return space
