"""What a search is for besides its score: other objectives, limits on what it may return, and their measurement.

Size and latency are those of the exported ONNX file: its bytes, and the milliseconds ONNX Runtime takes for one row on
one thread. So what is measured is what will be deployed. Networks are measured before they are trained, because weights
change neither.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import ArchitectureError, SearchError, nearest
from nas.placed import scratch

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.dataset import Dataset
    from nas.model import Network
    from nas.record import Record
    from nas.space import SearchSpace
    from nas.space.domain import Domain, Value
    from nas.training.resident import Fold

COSTS = ("parameters", "size", "latency")
BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
WEIGHT_BYTES = 4  # an exported parameter is a float32
FEW, NEAR = 5, 3.0  # smallest architectures timed; times the limit that noise and what is not among them may explain
SIZES = 64  # random architectures that show what sizes a space has
GOLDEN = (5**0.5 - 1) / 2
LONGEST = -2.2250738585072014e-308  # no number takes more characters


@dataclass(frozen=True)
class Footprint:
    """What an architecture costs where it is deployed.

    Attributes:
        parameters: Trained numbers.
        size: Bytes of the ONNX file.
        latency: Milliseconds for one row, the median over repeated calls on one thread.
    """

    parameters: int
    size: int
    latency: float


@dataclass(frozen=True)
class Goals:
    """Objectives and limits of a search.

    Attributes:
        objectives: ``score`` first; then those of ``parameters``, ``size`` and ``latency`` that should be small.
        max_size: Bytes of the exported ONNX file at most, or None.
        max_latency: Milliseconds a row at most, or None.
    """

    objectives: tuple[str, ...] = ("score",)
    max_size: float | None = None
    max_latency: float | None = None

    @classmethod
    def of(cls, objectives: Sequence[str], max_size: str | float | None, max_latency: str | float | None) -> Goals:
        """Returns the goals that names and texts such as ``"200kB"`` and ``"0.5ms"`` (or bytes, milliseconds) say."""
        names = (objectives,) if isinstance(objectives, str) else tuple(objectives)
        for name in names:
            if name not in ("score", *COSTS):
                raise SearchError(
                    f"objectives are of score, {', '.join(COSTS)}, but got {name!r};{nearest(str(name), COSTS)} "
                    'write objectives=("score", "size"), for example.'
                )
        if names[:1] != ("score",) or len(set(names)) < len(names):
            raise SearchError(f"objectives begin with 'score' and name each other one once, but got {names!r}.")
        size = _quantity("max_size", max_size, BYTES, "b")
        return cls(names, size, _quantity("max_latency", max_latency, MILLISECONDS, "ms"))

    @property
    def plain(self) -> bool:
        """Whether nothing but the score counts."""
        return self == Goals()

    def to_dict(self) -> dict[str, object]:
        """Returns what is not at its default, as JSON."""
        described = {"objectives": list(self.objectives), "max_size": self.max_size, "max_latency": self.max_latency}
        return {name: value for name, value in described.items() if value not in (None, ["score"])}

    def violation(self, footprint: Footprint) -> str:
        """Returns which limit a footprint exceeds, in words, or nothing."""
        if self.max_size is not None and footprint.size > self.max_size:
            return f"{footprint.size:,} bytes are more than max_size, {self.max_size:,.0f}"
        if self.max_latency is not None and footprint.latency > self.max_latency:
            return f"{footprint.latency:.3g} ms a row are more than max_latency, {self.max_latency:.3g}"
        return ""


class Meter:
    """Measures what architectures would cost if they were exported for a dataset, each once, and holds goals up to it.

    With several objectives every second trial looks below a cap on parameters, at places of a low-discrepancy sequence
    between few and many (the epsilon-constraint method, Haimes et al. 1971), so that any controller covers the front.

    Args:
        goals: What is wanted.
        data: All rows of the search, which preprocessing (part of the file) is fitted on.
        space: What the architectures are of.
        metric: Name of what is maximised, which an exported file holds with the score.
        seed: Decides the random architectures that show what the space has.
    """

    def __init__(self, goals: Goals, data: Dataset, space: SearchSpace, metric: str, seed: int) -> None:
        self._goals, self._data, self._space, self._seed = goals, data, space, seed
        self._operations = space.operations
        paths = {path: domain for path, domain in space.decisions().items() if path.startswith("settings.")}
        self._settings = {path.removeprefix("settings."): _longest(domain) for path, domain in paths.items()}
        self._scores = {"metric": metric, "score": LONGEST}
        self._fold: Fold | None = None
        self._counted: dict[str, float] = {}
        self._known: dict[str, Footprint] = {}
        self._taken: list[float] = []
        self._cap = math.inf

    def check(self) -> None:
        """Refuses limits that no random architecture comes near.

        Otherwise a search would export hundreds of candidates before it gave up.

        Raises:
            SearchError: If the weights of the smallest alone are larger than ``max_size``, or if the fastest of the
                smallest few takes more than ``NEAR`` times ``max_latency``.
        """
        if self._goals.max_size is None and self._goals.max_latency is None:
            return
        smallest = sorted(self._drawn(), key=self._parameters)
        least = WEIGHT_BYTES * self._parameters(smallest[0])
        if least == math.inf:  # training will say why
            return
        if self._goals.max_size is not None and least > self._goals.max_size:
            raise SearchError(
                f"no candidate of {len(smallest)} kept the limits: the smallest has {least:,.0f} bytes of weights, "
                f"more than max_size, {self._goals.max_size:,.0f}; allow more, or search a space with smaller widths."
            )
        if self._goals.max_latency is not None:
            fastest = math.inf
            for architecture in filter(self._builds, smallest[:FEW]):
                fastest = min(fastest, self.footprint(architecture).latency)
                if fastest <= NEAR * self._goals.max_latency:
                    return
            raise SearchError(
                f"no candidate comes near the limits: the fastest of the smallest takes {fastest:.3g} ms a row, more "
                f"than max_latency, {self._goals.max_latency:.3g}; allow more, or search a space with fewer operations."
            )

    def turn(self, number: int) -> None:
        """Sets the cap of trial ``number``."""
        self._cap = math.inf
        if len(self._goals.objectives) == 1 or number % 2 == 0:
            return
        if counts := [max(1, self._parameters(a)) for a in self._drawn() if self._builds(a)]:
            self._cap = float(np.exp(np.quantile(np.log(counts), (0.5 + number * GOLDEN) % 1)))

    def allows(self, architecture: Architecture) -> bool:
        """Returns whether an architecture can keep the limits, as far as its parameters tell, and the trial's cap."""
        if self._cap == math.inf and self._goals.max_size is None:
            return True
        parameters = self._parameters(architecture)
        return parameters <= self._cap and WEIGHT_BYTES * parameters <= (self._goals.max_size or math.inf)

    def violation(self, architecture: Architecture) -> str:
        """Returns which limit an architecture exceeds once exported, in words, or nothing.

        One that cannot be built exceeds none: training says why.
        """
        if self._goals.plain or not self._builds(architecture):
            return ""
        from nas.export.onnx import MAX_BYTES

        least = WEIGHT_BYTES * self._parameters(architecture)
        if self._goals.max_size is not None and least > self._goals.max_size:
            return f"{least:,.0f} bytes of weights are more than max_size, {self._goals.max_size:,.0f}"
        if least > MAX_BYTES:
            return f"{least:,.0f} bytes of weights are more than an ONNX file holds, {MAX_BYTES:,}"
        if self._goals.max_size is None and self._goals.max_latency is None:
            return ""
        return self._goals.violation(self.footprint(architecture))

    def measure(self, architecture: Architecture) -> None:
        """Measures what the objectives ask for of an architecture that can be built and keeps the limits."""
        if self._exports and self._builds(architecture):
            self.footprint(architecture)

    def seconds(self) -> float:
        """Returns what it takes to see what a candidate costs, and whether it keeps the limits."""
        taken = [0.0]
        new = (architecture for architecture in self._drawn() if architecture.key not in self._known)
        for architecture in islice(new, 2):  # the first one pays for what is loaded once
            started = time.perf_counter()
            if not self.violation(architecture):
                self.measure(architecture)
            taken.append(time.perf_counter() - started)
        return taken[-1]

    @property
    def took(self) -> float:
        """Seconds that the last measurement took, 0 where it was the first: that one pays for what is loaded once."""
        return self._taken[-1] if len(self._taken) > 1 else 0.0

    def knows(self, architecture: Architecture) -> bool:
        """Whether there is nothing left to measure of an architecture."""
        return not self._exports or architecture.key in self._known

    @property
    def footprints(self) -> dict[str, tuple[int, int, float]]:
        """What has been measured, the fields of footprints by the keys of architectures."""
        return {key: astuple(footprint) for key, footprint in self._known.items()}

    def remember(self, footprints: Mapping[str, tuple[int, int, float]]) -> None:
        """Takes what an earlier call of the same search has measured; that counts, also of what was timed anew."""
        self._known |= {key: Footprint(*each) for key, each in footprints.items()}

    def footprint(self, architecture: Architecture) -> Footprint:
        """Returns what an architecture costs, by exporting it untrained (about a second).

        No trained one is larger: the settings and the score that the file holds are the longest there can be, and no
        two tensors are equal, of which the file would hold one.
        """
        from nas.export import export
        from nas.training.fit import as_predictor

        if architecture.key not in self._known:
            started, network = time.perf_counter(), self._network(architecture)
            _make_unequal(network)
            with scratch() as folder:
                predictor, path = as_predictor(network, self._all_rows), folder / "network.onnx"
                report = export(predictor, self._data, path, settings=self._settings, scores=self._scores)
            parameters = sum(p.numel() for p in network.parameters())
            self._known[architecture.key] = Footprint(parameters, report.bytes, report.milliseconds_per_row or 0.0)
            self._taken.append(time.perf_counter() - started)
        return self._known[architecture.key]

    def front(self, records: Iterable[Record]) -> tuple[tuple[Record, Footprint], ...]:
        """Returns the measured records that no other one beats in every objective, best score first, and their cost."""
        scored = sorted(self._measured(records), key=lambda r: (-(r.score or 0.0), r.number))
        points = [(-(r.score or 0.0), *self._costs(r.architecture)) for r in scored]
        kept = [
            record
            for i, record in enumerate(scored)
            if not any(_dominates(q, points[i]) or (q == points[i] and j < i) for j, q in enumerate(points))
        ]
        return tuple((record, self.footprint(record.architecture)) for record in kept)

    def costs(self, records: Iterable[Record]) -> dict[str, tuple[float, ...]]:
        """Returns what should be small besides the score of each measured architecture that has one, by its key."""
        return {r.architecture.key: self._costs(r.architecture) for r in self._measured(records)}

    def _measured(self, records: Iterable[Record]) -> list[Record]:
        return [r for r in records if r.score is not None and self.knows(r.architecture)]

    def _costs(self, architecture: Architecture) -> tuple[float, ...]:
        return tuple(float(getattr(self.footprint(architecture), name)) for name in self._goals.objectives[1:])

    def _parameters(self, architecture: Architecture) -> float:
        """The trained numbers of an architecture, infinity where it cannot be built."""
        from nas.model import parameters

        if architecture.key not in self._counted:
            counted = math.inf
            with suppress(ArchitectureError):
                counted = parameters(architecture, self._all_rows.signature, self._operations)
            self._counted[architecture.key] = counted
        return self._counted[architecture.key]

    def _builds(self, architecture: Architecture) -> bool:
        return self._parameters(architecture) < math.inf

    def _network(self, architecture: Architecture) -> Network:
        from nas.model import build, present

        signature = self._all_rows.signature
        return build(present(architecture, signature), signature, self._operations, seed=0)

    def _drawn(self) -> Iterator[Architecture]:
        """The default and random architectures of the unlimited space, the same ones whenever they are asked for."""
        rng = np.random.default_rng([self._seed, 1])
        yield self._space.architecture(self._space.default())
        yield from (self._space.architecture(self._space.sample(rng)) for _ in range(SIZES))

    @property
    def _exports(self) -> bool:
        """Whether there is a front, which tells of each candidate what it costs once exported."""
        return len(self._goals.objectives) > 1

    @property
    def _all_rows(self) -> Fold:
        from nas.training.resident import Fold

        if self._fold is None:
            self._fold = Fold(self._data, np.arange(len(self._data)), None)
        return self._fold


def _make_unequal(network: Network) -> None:
    """Moves every number that training changes a little, as biases of zero would be one tensor in a file."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    trained = set(dict(network.named_parameters()))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():  # shares the network's memory
            if tensor.is_floating_point() and (name in trained or name.endswith(("running_mean", "running_var"))):
                tensor.add_(1e-3 * torch.rand(tensor.shape, generator=drawn).to(tensor))


def _longest(domain: Domain) -> Value:
    """The value of a domain that takes the most characters."""
    return max(domain.values or (LONGEST,), key=lambda value: len(json.dumps(value)))


def _dominates(p: Sequence[float], q: Sequence[float]) -> bool:
    """Whether p is nowhere larger than q and somewhere smaller."""
    return all(a <= b for a, b in zip(p, q, strict=True)) and tuple(p) != tuple(q)


def _quantity(name: str, value: object, units: Mapping[str, float], unit: str) -> float | None:
    """A text with a unit, or a number in ``unit``, as a number in ``unit``."""
    if value is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-zµ]*)\s*", str(value).lower())
    try:
        number = float(found[1]) * units[found[2] or unit] if found else math.nan
    except (KeyError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        example = "200kB" if name == "max_size" else "1ms"
        raise SearchError(
            f"`{name}` is a positive number with one of the units {', '.join(units)}, but got {value!r}; "
            f"write {name}={example!r}, for example."
        )
    return number
