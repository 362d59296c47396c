"""Graph-based search spaces: domains of single decisions, and the graph of choices made of them."""

from nas.space.domain import Choice, Domain, Float, Integer, Value
from nas.space.space import Choices, Op, Repeat, SearchSpace

__all__ = ["Choice", "Choices", "Domain", "Float", "Integer", "Op", "Repeat", "SearchSpace", "Value"]
