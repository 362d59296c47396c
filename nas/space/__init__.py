"""Graph-based search spaces: domains of single decisions, and the graph of choices made of them."""

from nas.space.body import Op, Repeat
from nas.space.decisions import Choices, Identity, identity
from nas.space.domain import Choice, Domain, Float, Integer, Value
from nas.space.space import SearchSpace

__all__ = [
    "Choice",
    "Choices",
    "Domain",
    "Float",
    "Identity",
    "Integer",
    "Op",
    "Repeat",
    "SearchSpace",
    "Value",
    "identity",
]
