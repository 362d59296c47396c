"""Which candidates are trained next: the controller's, without what is known, refused or under way.

Here belongs the talk with a controller and nothing else. When something is asked for is the search's business
(``running``), how it is trained ``nas.evaluation``'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nas.evaluation import Evaluator
from nas.goals import Meter
from nas.record import DatasetInfo, PastDataset, Record
from nas.sketch import KIN, kinship

if TYPE_CHECKING:
    from pathlib import Path

    from nas.controllers import Controller, ControllerSpec
    from nas.space import Choices, SearchSpace

REPEATS = 200  # known or refused candidates among those asked for at once, after which a space counts as exhausted
WIDER = 8  # times that more are asked for, where those asked for are under way by another name


class Proposals:
    """Asks a controller for candidates, and tells it at once of those that need no training.

    Args:
        controller: Told nothing yet.
        evaluator: Names evaluations by their keys.
        meter: Measures candidates, and refuses what exceeds a limit.
        known: Evaluations of earlier searches by key.

    Attributes:
        hits: Evaluations of earlier searches, or of this one by another name, that were asked for.
        refused: Which limit each refused candidate would exceed.
        exhausted: Whether the controller had nothing new left.
    """

    def __init__(self, controller: Controller, evaluator: Evaluator, meter: Meter, known: Mapping[str, Record]) -> None:
        self.controller = controller
        self.hits: list[Record] = []
        self.refused: list[str] = []
        self.exhausted = False
        self._evaluator, self._meter = evaluator, meter
        self._known = dict(known)

    def next(
        self, count: int, pending: Collection[str] = (), recorded: Collection[str] = (), until: float = math.inf
    ) -> list[Choices]:
        """Returns at most ``count`` candidates to train, none where the space has no more.

        The controller is asked again after each that is known or refused, until there are so many. ``pending`` are keys
        under way, asked for beside the others so that none is asked for twice; ``recorded`` are keys that count as new
        though they are known, when a search is replayed. At ``until``, a ``time.monotonic()``, nothing more is asked
        for; a replay goes on, but nothing is measured then.
        """
        repeats = wider = 0
        found: dict[str, Choices] = {}
        while repeats < REPEATS and wider <= WIDER and (recorded or time.monotonic() < until):
            known = None
            for choices in self.controller.ask(count + len(pending) + wider):
                key = self._evaluator.key(choices)
                if key in found or key in pending:
                    continue
                if key not in recorded and (known := self._without_training(choices, key, until)) is not None:
                    self.controller.tell([known])
                    repeats += 1
                    break
                found[key] = choices
                if len(found) == count:
                    return list(found.values())
            if known is None:
                wider += 1
        self.exhausted = not found and time.monotonic() < until
        return list(found.values())

    def tell(self, records: Sequence[Record]) -> None:
        """Tells the controller what came of candidates that ``next`` gave."""
        self._known |= {self._evaluator.key(record.choices): record for record in records}
        self.controller.tell(records)

    def _without_training(self, choices: Choices, key: str, until: float) -> Record | None:
        """What is known of a candidate that will not be trained, None for one that will."""
        if (known := self._known.get(key)) is not None:
            self.hits.append(replace(known, choices=choices))
            return self.hits[-1]
        if time.monotonic() >= until:
            return None
        architecture = self._evaluator.space.architecture(choices)
        if reason := self._meter.violation(architecture):
            self.refused.append(reason)
            return self._evaluator.refused(choices, reason)
        self._meter.measure(architecture)
        return None


def controller_of(
    spec: ControllerSpec,
    space: SearchSpace,
    seed: int,
    past: tuple[PastDataset, ...],
    info: DatasetInfo,
    priors: Path | None,
) -> Controller:
    """The controller for a problem, told nothing yet; ``priors`` is where what the past teaches is kept."""
    from nas.controllers import Problem, create

    problem = Problem(
        space=space,
        seed=seed,
        past=past,
        metafeatures=info.metafeatures,
        dataset=info.fingerprint,
        kin=frozenset(p.info.fingerprint for p in past if kinship(info, p.info) >= KIN),
        task=info.task,
        kind=info.kind,
        priors=priors,
    )
    return create(spec, problem)
