"""Domains: what one decision may be (one of several, a whole number, a number). No graph belongs here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from nas.errors import SpaceError

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

Value = str | int | float | bool | None


class Domain(ABC):
    """The values one decision may take.

    Attributes:
        name: A domain with a name is one decision wherever it is used; without, every use is a decision of its own.
        default: The value taken where nothing is known.
    """

    name: str | None
    default: Value

    @property
    @abstractmethod
    def values(self) -> tuple[Value, ...] | None:
        """All values in order, or ``None`` where they cannot be listed."""

    @property
    @abstractmethod
    def ordered(self) -> bool:
        """Whether the values are numbers, so that near values mean similar things."""

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether ``value`` belongs to the domain; ``True`` is no number here."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Value:
        """A value drawn uniformly (on the logarithmic scale where the domain has one)."""

    @abstractmethod
    def neighbour(self, value: Value, rng: np.random.Generator) -> Value:
        """A value other than ``value``, near it where the domain is ordered; ``value`` itself if it is the only one."""

    @abstractmethod
    def nearest(self, number: float) -> Value:
        """The value nearest to ``number``, for ordered domains; the default where it is not finite."""

    @abstractmethod
    def unit(self, value: Value) -> float:
        """The position of ``value`` in [0, 1], for ordered domains."""

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """The same domain as an Optuna distribution."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A JSON description of the domain, default left out: it is advice, not content."""

    @property
    def size(self) -> float:
        """The number of values, infinite for a ``Float``."""
        return math.inf if self.values is None else len(self.values)


def _label(alternative: object) -> Value:
    """What a decision records for an alternative: the value itself, or the name of an operation or a space."""
    if alternative is None or isinstance(alternative, str | int | float | bool):
        return alternative
    name = getattr(alternative, "name", None)
    if not isinstance(name, str):
        raise SpaceError(
            f"an alternative of a Choice must be a value, an Op, a Repeat or a space, but got {alternative!r}."
        )
    return name


class Choice(Domain):
    """One of several alternatives: numbers, names, ``Op``, ``Repeat`` or a whole ``SearchSpace``.

    Args:
        alternatives: At least one, with distinct labels. Numbers alone make an ordered domain, in the order given.
        default: The label of the default, by default that of the first alternative.
        name: Makes every use of this object the same decision.
    """

    def __init__(self, *alternatives: object, default: Value = None, name: str | None = None) -> None:
        self.alternatives = {_label(a): a for a in alternatives}
        if not alternatives or len(self.alternatives) != len(alternatives):
            raise SpaceError(f"a Choice needs at least one alternative and distinct labels, but got {alternatives!r}.")
        if any(isinstance(v, float) and not math.isfinite(v) for v in self.alternatives):
            raise SpaceError(f"the numbers of a Choice must be finite, but got {alternatives!r}.")
        self.default = next(iter(self.alternatives)) if default is None else default
        self.name = name
        if not self.contains(self.default):
            raise SpaceError(f"the default of a Choice must be one of {list(self.alternatives)}, but got {default!r}.")

    @property
    def values(self) -> tuple[Value, ...]:
        return tuple(self.alternatives)

    @property
    def ordered(self) -> bool:
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.alternatives)

    def contains(self, value: object) -> bool:
        return any(type(v) is type(value) and v == value for v in self.alternatives)

    def sample(self, rng: np.random.Generator) -> Value:
        return self.values[int(rng.integers(len(self.values)))]

    def neighbour(self, value: Value, rng: np.random.Generator) -> Value:
        index, last = self.values.index(value), len(self.values) - 1
        if last == 0:
            return value
        if self.ordered:
            near = [i for i in (index - 1, index + 1) if 0 <= i <= last]
        else:
            near = [i for i in range(last + 1) if i != index]
        return self.values[near[int(rng.integers(len(near)))]]

    def nearest(self, number: float) -> Value:
        if not math.isfinite(number):
            return self.default
        return min(self.values, key=lambda value: abs(float(value) - number))  # type: ignore[arg-type]

    def unit(self, value: Value) -> float:
        return self.values.index(value) / max(len(self.values) - 1, 1)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "choice", "values": list(self.values)}


class Integer(Domain):
    """A whole number from ``low`` to ``high``, both included, uniform or log-uniform.

    Raises:
        SpaceError: Unless ``low <= high``, and ``low >= 1`` where ``log``.
    """

    def __init__(
        self, low: int, high: int, *, log: bool = False, default: int | None = None, name: str | None = None
    ) -> None:
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in (low, high)):
            raise SpaceError(f"the bounds of an Integer must be whole numbers, but got ({low=}, {high=}).")
        if not low <= high or (log and low < 1):
            raise SpaceError(f"`low <= high` (and `low >= 1` where log) must hold, but got ({low=}, {high=}, {log=}).")
        self.low, self.high, self.log, self.name = low, high, log, name
        middle = math.sqrt(low * high) if log else (low + high) / 2
        self.default = round(middle) if default is None else default
        if not self.contains(self.default):
            raise SpaceError(f"the default of an Integer must lie in [{low}, {high}], but got {default!r}.")

    @property
    def values(self) -> tuple[Value, ...] | None:
        return tuple(range(self.low, self.high + 1)) if self.high - self.low < 100_000 else None

    @property
    def ordered(self) -> bool:
        return True

    @property
    def size(self) -> float:
        return self.high - self.low + 1

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def sample(self, rng: np.random.Generator) -> int:
        if not self.log:
            return int(rng.integers(self.low, self.high + 1))
        drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(max(round(drawn), self.low), self.high)

    def neighbour(self, value: Value, rng: np.random.Generator) -> int:
        if self.low == self.high:
            return self.low
        near = _perturbed(self, value, rng)
        moved = min(max(round(near), self.low), self.high)
        if moved == value:
            up = moved < self.high and (moved == self.low or rng.random() < 0.5)
            moved += 1 if up else -1
        return moved

    def nearest(self, number: float) -> Value:
        return min(max(round(number), self.low), self.high) if math.isfinite(number) else self.default

    def unit(self, value: Value) -> float:
        return _unit(self, value)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "integer", "low": self.low, "high": self.high, "log": self.log}


class Float(Domain):
    """A number from ``low`` to ``high``, uniform or log-uniform.

    Raises:
        SpaceError: Unless both bounds are finite, ``low <= high``, and ``low > 0`` where ``log``.
    """

    def __init__(
        self, low: float, high: float, *, log: bool = False, default: float | None = None, name: str | None = None
    ) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low <= high) or (log and low <= 0):
            raise SpaceError(
                f"finite `low <= high` (and `low > 0` where log) must hold, but got ({low=}, {high=}, {log=})."
            )
        self.low, self.high, self.log, self.name = float(low), float(high), log, name
        middle = math.sqrt(low * high) if log else (low + high) / 2
        if not low <= middle <= high:  # the product, or the sum, is no float
            middle = min(max(math.sqrt(low) * math.sqrt(high) if log else low / 2 + high / 2, low), high)
        self.default = float(middle if default is None else default)
        if not self.contains(self.default):
            raise SpaceError(f"the default of a Float must lie in [{low}, {high}], but got {default!r}.")

    @property
    def values(self) -> tuple[Value, ...] | None:
        return (self.low,) if self.low == self.high else None

    @property
    def ordered(self) -> bool:
        return True

    def contains(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def sample(self, rng: np.random.Generator) -> float:
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)

    def neighbour(self, value: Value, rng: np.random.Generator) -> float:
        return min(max(_perturbed(self, value, rng), self.low), self.high)

    def nearest(self, number: float) -> Value:
        return min(max(float(number), self.low), self.high) if math.isfinite(number) else self.default

    def unit(self, value: Value) -> float:
        return _unit(self, value)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "float", "low": self.low, "high": self.high, "log": self.log}


def _unit(domain: Integer | Float, value: Value) -> float:
    low, high, at = domain.low, domain.high, float(value)  # type: ignore[arg-type]
    if low == high:
        return 0.0
    if domain.log:
        return (math.log(at) - math.log(low)) / (math.log(high) - math.log(low))
    return (at - low) / (high - low)


def _perturbed(domain: Integer | Float, value: Value, rng: np.random.Generator) -> float:
    """A Gaussian step of a fifth of the range, on the domain's own scale."""
    at = min(max(_unit(domain, value) + 0.2 * float(rng.standard_normal()), 0.0), 1.0)
    if domain.log:
        return math.exp(math.log(domain.low) + at * (math.log(domain.high) - math.log(domain.low)))
    return domain.low + at * (domain.high - domain.low)
