"""What history was worth over many datasets that it did not know: means, intervals, and words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.loop.replay import Tested

SHOWN = (1, 3, 5, 10)  # evaluations
ARMS = {"warm": "history", "average": "average of history", "cold": "no history"}
RESAMPLES = 10_000  # of families, for intervals of 95 %


@dataclass(frozen=True)
class Worth:
    """What history was worth on datasets it did not know; families count alike, whatever their number of datasets."""

    tested: tuple[Tested, ...]

    def regret(self, arm: str) -> np.ndarray:
        """Returns the mean regret of ``warm``, ``average`` or ``cold`` after 1, 2, ... evaluations."""
        return self._by_family(np.array([getattr(each, arm) for each in self.tested])).mean(axis=0)

    def gain(self, over: str, evaluation: int) -> tuple[float, float, float]:
        """Returns by how much history's regret is smaller than that of ``cold`` or ``average``, with a 95 % interval.

        Paired by family, resampled over families.
        """
        each = self._by_family(
            np.array([getattr(t, over)[evaluation - 1] - t.warm[evaluation - 1] for t in self.tested])
        )
        rng = np.random.default_rng(0)
        means = each[rng.integers(len(each), size=(RESAMPLES, len(each)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        return float(each.mean()), float(low), float(high)

    @property
    def verdicts(self) -> Counter[str]:
        """How many datasets it helped, harmed, or did neither."""
        return Counter(each.verdict for each in self.tested)

    @property
    def families(self) -> int:
        """How many families were left out."""
        return len({each.family for each in self.tested})

    @property
    def first_pick_equals(self) -> int | None:
        """After how many evaluations a search without history is as good as history's first pick; None if later."""
        reached = np.flatnonzero(self.regret("cold") <= self.regret("warm")[0])
        return int(reached[0]) + 1 if len(reached) else None

    def _by_family(self, values: np.ndarray) -> np.ndarray:
        families = np.array([each.family for each in self.tested])
        return np.array([values[families == family].mean(axis=0) for family in dict.fromkeys(families.tolist())])

    def to_dict(self) -> dict[str, Any]:
        """Returns regrets, gains and verdicts as a JSON-ready dict."""
        shown = [n for n in SHOWN if n <= len(self.tested[0].warm)]
        interval = ("mean", "low", "high")
        return {
            "datasets": len(self.tested),
            "families": self.families,
            "regret": {name: {str(n): float(self.regret(arm)[n - 1]) for n in shown} for arm, name in ARMS.items()},
            "gain": {
                f"over {ARMS[arm]}": {str(n): dict(zip(interval, self.gain(arm, n), strict=True)) for n in shown}
                for arm in ("average", "cold")
            },
            "verdicts": dict(self.verdicts),
            "first pick equals": self.first_pick_equals,
            "described": sum(each.described for each in self.tested),
        }

    def __str__(self) -> str:
        told = self.to_dict()
        shown = list(told["regret"]["history"])
        rows = [f"{'regret after':22s}" + "".join(f"{n:>7s}" for n in shown)]
        for name, values in told["regret"].items():
            rows.append(f"{name:22s}" + "".join(f"{value:7.2f}" for value in values.values()))
        for over, each in told["gain"].items():
            first = each[shown[0]]
            rows.append(
                f"first pick {over}: {first['mean']:+.2f} of the way from the median candidate to the best, "
                f"95 % interval over families [{first['low']:+.2f}, {first['high']:+.2f}]"
            )
        found = self.verdicts
        rows.append(
            f"history helped on {found['helped']} of {len(self.tested)} datasets, harmed on {found['harmed']}, "
            f"made no difference on {found['no difference']}"
        )
        equal = self.first_pick_equals
        after = f"as good as {equal} evaluations" if equal else f"better than {len(self.tested[0].cold)} evaluations"
        rows.append(f"its first pick is {after} without history")
        return "\n".join(rows)
