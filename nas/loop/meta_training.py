"""``meta_train``: what a history teaches, worked out, kept for the searches to come, and asked what it is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from nas.controllers.account import about_likeness
from nas.errors import HistoryError
from nas.loop.replay import FEWEST, Tested, held_out, replayed
from nas.loop.worth import Worth
from nas.metadataset.histories import YOURS, Histories, Source
from nas.readable import counted, one_line

if TYPE_CHECKING:
    from nas.controllers.prior import Prior
    from nas.record import PastDataset
    from nas.space import SearchSpace

FEWEST_FAMILIES = 2  # to leave one out


@dataclass(frozen=True)
class Distilled:
    """What a history teaches about a space.

    Attributes:
        space: Its name.
        trainings, datasets: That teach, of this space.
        elsewhere: How many datasets of other spaces teach what these share with it.
        ignored: Why others do not, by name.
        likeness: A sentence on what a dataset is like, and whether that is used.
        places: Files in which it is kept, one for each form of the space.
        worth: On families left out; None where none could be.
    """

    space: str
    trainings: int
    datasets: int
    elsewhere: int
    ignored: Mapping[str, str]
    likeness: str
    places: tuple[str, ...]
    worth: Worth | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as a JSON-ready dict."""
        worth = None if self.worth is None else self.worth.to_dict()
        return {**vars(self), "ignored": dict(self.ignored), "places": list(self.places), "worth": worth}

    def __str__(self) -> str:
        rows = [f"space {self.space}: {counted(self.trainings, 'training')} on {counted(self.datasets, 'dataset')}"]
        if self.elsewhere:
            rows.append(
                f"of other spaces, as far as they share operations or settings: {counted(self.elsewhere, 'dataset')}"
            )
        for reason, number in Counter(self.ignored.values()).most_common():
            names = [name for name, why in self.ignored.items() if why == reason]
            rows += wrap(
                f"not heard, {reason}: {number} ({', '.join(map(one_line, names[:8]))}{', ...' * (number > 8)})", 110
            )
        rows.append(self.likeness)
        if self.places:
            kept = "this space" if len(self.places) == 1 else f"{len(self.places)} forms of this space"
            rows.append(f"kept for {kept} in {Path(self.places[0]).parent}; searches use it unasked")
        if self.worth is not None:
            rows.append(str(self.worth))
        return "\n".join(rows)


class MetaTraining:
    """One history and one space, opened together: distil, then ask what it is worth; a context manager.

    Args:
        space: The space, or the name of one of ``search_spaces``; by default that in which most was trained.
        history: What to learn from, as ``nas.search`` takes it.

    Raises:
        HistoryError: If nothing is on record that could teach.
        SearchError: If there is no such space.
    """

    def __init__(self, space: SearchSpace | str | None = None, history: Source = YOURS) -> None:
        self._histories = Histories(history, None, read_only=history != YOURS)
        try:
            self.past = self._histories.past()
            if not self.past:
                raise HistoryError("there is no training on record to learn from; `nas search DATA` makes some.")
            self._forms = _forms(space, self.past)
        except BaseException:
            self._histories.close()
            raise

    def __enter__(self) -> MetaTraining:
        return self

    def __exit__(self, *exception: object) -> None:
        self._histories.close()

    @property
    def space(self) -> SearchSpace:
        """The widest form of the space."""
        return self._forms[0]

    @property
    def counted(self) -> str:
        """How many datasets there are, in words."""
        return self._histories.counted(self.past)

    def distilled(self) -> Iterator[Distilled]:
        """Yields what is learned each time that one more form of the space is done; the last one says all."""
        from nas.controllers import Problem
        from nas.controllers.stored import path_of, prior_of

        places: list[str] = []
        told: Distilled | None = None
        for form in self._forms:
            problem = Problem(form, past=self.past, priors=self._histories.priors)
            prior = prior_of(problem)
            path = path_of(problem)
            places += [str(path)] if path is not None and path.exists() else []
            told = told or _told(prior)
            yield replace(told, places=tuple(places))

    @property
    def forms(self) -> int:
        """How many forms of the space are distilled."""
        return len(self._forms)

    def families(self, names: Sequence[str] = ()) -> list[list[int]]:
        """Returns the places of datasets that can be played again, those of one family together.

        Raises:
            HistoryError: Where there are none, or only one family is known.
        """
        found = held_out(self.past, self.space, names)
        if not found or len({each.info.family or each.info.fingerprint for each in self.past}) < FEWEST_FAMILIES:
            raise HistoryError(
                f"to leave a family out there must be {FEWEST_FAMILIES} families, and {FEWEST} candidates of space "
                f"{self.space.name!r} trained on each dataset that is played again, some better than the median; this "
                f"history has {counted(len(found), 'such family')}."
            )
        return found

    def tested(self, places: Sequence[int]) -> Iterator[Tested]:
        """Yields how history does on these datasets of one family, which is left out."""
        return replayed(self.past, self.space, places)


def meta_train(space: SearchSpace | str | None = None, *, history: Source = YOURS) -> Distilled:
    """Works out what a history teaches, keeps it for searches to come, and says what it is worth.

    Searches do the first themselves where it has not been done. The second plays searches of each family's datasets
    again with that family left out, which takes some seconds a family.

    Args:
        space: A space, or the name of one of ``search_spaces``; by default that in which most was trained.
        history: What to learn from, as ``nas.search`` takes it.

    Raises:
        HistoryError: If nothing is on record that could teach.
    """
    from tqdm import tqdm

    with MetaTraining(space, history) as training:
        *_, found = tqdm(training.distilled(), total=training.forms, desc="distilling", unit="form", disable=None)
        try:
            families = training.families()
        except HistoryError:
            return found
        tested = [
            each
            for places in tqdm(families, desc="leaving out", unit="family", disable=None)
            for each in training.tested(places)
        ]
        return replace(found, worth=Worth(tuple(tested)))


def _forms(space: SearchSpace | str | None, past: Sequence[PastDataset]) -> list[SearchSpace]:
    """The form to be tested, the widest, then those in which datasets were searched."""
    from search_spaces.forms import NAMES, forms

    if space is not None and not isinstance(space, str):
        return [space]
    if space is None:
        searched = Counter(r.space for each in past for r in each.records if r.space in NAMES)
        if not searched:
            raise HistoryError(
                f"this history has no training in the spaces {', '.join(NAMES)}; pass the space it is of, in Python, "
                "as `space=`."
            )
        space = searched.most_common(1)[0][0]
    fingerprints = {r.space_fingerprint for each in past for r in each.records}
    widest, *others = forms(space)
    return [widest, *(form for form in others if form.fingerprint in fingerprints)]


def _told(prior: Prior) -> Distilled:
    here = [lesson for lesson in prior.lessons if lesson.here]
    return Distilled(
        space=prior.space,
        trainings=sum(lesson.trainings for lesson in here),
        datasets=len({lesson.fingerprint for lesson in here}),
        elsewhere=len({lesson.fingerprint for lesson in prior.lessons if not lesson.here}),
        ignored=prior.ignored,
        likeness=about_likeness(prior),
        places=(),
    )
