"""What a search says of itself beside its records: whom it listened to, what it decided on the way, what it ran on.

The loop writes it into ``SearchInfo.account`` when a search begins and when it ends; reports read it. It is told, not
computed: nothing here asks a controller anything.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nas.errors import HistoryError
from nas.record import Record, digest_of
from nas.record.fields import LIST, NUMBER, OBJECT, TEXT, checked_fields

if TYPE_CHECKING:
    from nas.controllers import Explanation
    from nas.dataset import Dataset
    from nas.result import Result
    from nas.space import SearchSpace

MOST_NAMED = 50  # datasets of an explanation that are kept by name, the loudest
EXAMPLES = 5  # datasets named for each reason to be ignored
LIBRARIES = ("nas", "torch", "numpy", "scikit-learn", "optuna")


@dataclass(frozen=True)
class Voices:
    """An explanation, short enough to be kept.

    Attributes:
        shares: (past dataset, its share of the prediction in [0, 1]), the largest first.
        others, others_share: How many more had a say, and how much together.
        own: Share of what the search saw itself.
        ignored: (reason, how many past datasets, some of their names), the commonest first.
        notes: Sentences for the reader.
    """

    shares: tuple[tuple[str, float], ...] = ()
    others: int = 0
    others_share: float = 0.0
    own: float = 0.0
    ignored: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, explanation: Explanation) -> Voices:
        """Returns what is kept of a controller's explanation."""
        loud = [(name, float(share)) for name, share in explanation.weights.items() if share > 0]
        reasons: dict[str, list[str]] = {}
        for name, reason in explanation.ignored.items():
            reasons.setdefault(reason, []).append(name)
        ignored = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
        rest = loud[MOST_NAMED:]
        return cls(
            shares=tuple(loud[:MOST_NAMED]),
            others=len(rest),
            others_share=sum(share for _, share in rest),
            own=float(explanation.own),
            ignored=tuple((reason, len(names), tuple(names[:EXAMPLES])) for reason, names in ignored),
            notes=tuple(explanation.notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict."""
        return {
            "shares": [list(pair) for pair in self.shares],
            "others": self.others,
            "others_share": self.others_share,
            "own": self.own,
            "ignored": [[reason, count, list(names)] for reason, count, names in self.ignored],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: object) -> Voices:
        """Returns what ``to_dict`` wrote; anything else is a HistoryError."""
        kinds = {"shares": LIST, "others": (int,), "others_share": NUMBER, "own": NUMBER, "ignored": LIST}
        fields = checked_fields("voices", data, kinds | {"notes": LIST})
        try:
            fields["shares"] = tuple((str(name), float(share)) for name, share in fields["shares"])
            fields["ignored"] = tuple((str(why), int(n), tuple(map(str, names))) for why, n, names in fields["ignored"])
        except (TypeError, ValueError) as error:
            raise HistoryError(f"An account cannot be read: {error}.") from error
        return cls(**fields | {"notes": tuple(map(str, fields["notes"]))})


@dataclass(frozen=True)
class Account:
    """What is known of a search beside its records; every part may be missing.

    Attributes:
        beginning, end: Whom the controller listened to before the first trial, and after the last.
        description: The data in one line.
        notes: Sentences about what was decided on the way: what was dropped, what was interrupted.
        found: The candidate that the search named best (``nas.report.candidate``).
        front: With several objectives, the candidates that no other one beats in all of them, best score first: each
            with its parameters, and the bytes and milliseconds a row of its exported file.
        footprints: Parameters, bytes and milliseconds a row of architectures, by their keys, as far as they were
            measured.
        device: What it was trained on.
        versions: Of Python, the libraries and the platform, by name.
        decisions: What each decision of the space can be, by path: ``Domain.to_dict``.
    """

    beginning: Voices | None = None
    end: Voices | None = None
    description: str = ""
    notes: tuple[str, ...] = ()
    found: str = ""
    front: tuple[tuple[str, int, int, float], ...] = ()
    footprints: Mapping[str, tuple[int, int, float]] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    decisions: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as a JSON-ready dict, what is missing as {}."""
        return {
            "beginning": self.beginning.to_dict() if self.beginning else {},
            "end": self.end.to_dict() if self.end else {},
            "description": self.description,
            "notes": list(self.notes),
            "found": self.found,
            "front": [list(point) for point in self.front],
            "footprints": {key: list(each) for key, each in self.footprints.items()},
            "device": self.device,
            "versions": dict(self.versions),
            "decisions": dict(self.decisions),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Account:
        """Returns what ``to_dict`` wrote, an empty account of {}; anything else is a HistoryError."""
        if not data:
            return cls()
        data = {"footprints": {}, **data}  # which the first accounts lack
        kinds = dict.fromkeys(("beginning", "end", "footprints", "versions", "decisions"), OBJECT)
        kinds |= dict.fromkeys(("description", "found", "device"), TEXT)
        fields = checked_fields("account", dict(data), kinds | {"notes": LIST, "front": LIST})
        for name in ("beginning", "end"):
            fields[name] = Voices.from_dict(fields[name]) if fields[name] else None
        try:
            fields["front"] = tuple((str(who), int(n), int(size), float(ms)) for who, n, size, ms in fields["front"])
            footprints = fields["footprints"].items()
            fields["footprints"] = {str(key): (int(n), int(size), float(ms)) for key, (n, size, ms) in footprints}
        except (TypeError, ValueError, OverflowError) as error:
            raise HistoryError(f"An account cannot be read: {error}.") from error
        fields["notes"] = tuple(map(str, fields["notes"]))
        fields["versions"] = {str(name): str(version) for name, version in fields["versions"].items()}
        return cls(**fields)


def account_at_start(
    explanation: Explanation, dataset: Dataset, space: SearchSpace, device: str, notes: Sequence[str]
) -> Account:
    """Returns what a search says of itself before its first trial."""
    return Account(
        beginning=Voices.of(explanation),
        description=dataset.describe(),
        notes=tuple(notes),
        device=device,
        versions=versions(),
        decisions={path: domain.to_dict() for path, domain in space.decisions().items()},
    )


def account_at_end(result: Result, start: Account | None = None) -> Account:
    """Returns what a search says of itself when it has a result; ``start`` is what it said before."""
    return replace(
        start or Account(),
        end=Voices.of(result.explanation),
        description=result.dataset.describe(),
        notes=result.notes,
        found=candidate(result.best),
        front=tuple((candidate(record), f.parameters, f.size, f.latency) for record, f in result.front),
        device=result.device,
        versions=versions(),
        decisions={path: domain.to_dict() for path, domain in result.space.decisions().items()},
    )


def candidate(record: Record) -> str:
    """Returns a digest that two records share exactly if they are of one candidate: architecture and settings."""
    return digest_of({"architecture": record.architecture.key, "settings": dict(record.settings)})


def versions() -> dict[str, str]:
    """Returns the versions of Python, of the libraries a result depends on, and of the platform; loads none of them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # used from its sources
            continue
    return found | {"platform": f"{platform.system()} {platform.machine()}"}
