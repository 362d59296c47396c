"""What a search learns from and what it writes to, opened together."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from nas.metadataset.knowledge import shipped_past
from nas.metadataset.lazy import together
from nas.metadataset.store import MetaDataset, Snapshot
from nas.record import PastDataset

YOURS = "yours"  # the default history: the user's own, and what is shipped

Source = str | PathLike[str] | MetaDataset | None


class Histories:
    """What may be learned from and what is written to, opened together; often one database, never the shipped one."""

    def __init__(self, history: Source, storage: Source, read_only: bool = False) -> None:
        self._opened: list[MetaDataset] = []
        place = None if history == YOURS else history
        with_shipped = history is not None and not isinstance(history, MetaDataset)
        self._shipped: list[PastDataset] = shipped_past() if with_shipped else []
        if history is None:
            self.history = None
        else:
            self.history = history if isinstance(history, MetaDataset) else self._open(place, read_only)
        if read_only:
            return
        if isinstance(storage, MetaDataset):
            self.storage = storage
        elif storage is not None:
            self.storage = self._open(storage)
        elif self.history is not None and not self.history.read_only:
            self.storage = self.history
        else:
            self.storage = self._open(None)

    def _open(self, place: Source, read_only: bool = False) -> MetaDataset:
        assert not isinstance(place, MetaDataset)
        opened = MetaDataset.open(place, read_only=read_only)
        self._opened.append(opened)
        return opened

    def snapshot(self, as_of: int | None = None) -> Snapshot:
        """What the history held up to a record; nothing where nothing is learned from."""
        if self.history is None:
            return Snapshot(last=0, digest="")
        return self.history.snapshot(as_of)

    def past(self, as_of: int | None = None, without: str = "") -> tuple[PastDataset, ...]:
        """Past datasets, the shipped ones first, without the records of the search ``without``."""
        own = self.history.past(as_of, without) if self.history is not None else []
        return tuple(together(self._shipped, own))

    @property
    def priors(self) -> Path | None:
        """The folder in which what this history teaches is kept; None where nothing can lie beside it."""
        return None if self.history is None else self.history.priors

    def counted(self, past: tuple[PastDataset, ...]) -> str:
        """How many past datasets there are, in words."""
        if self.history is None:
            return "not learned from"
        return f"{len(self._shipped)} datasets shipped + {len(past) - len(self._shipped)} yours"

    def __enter__(self) -> Histories:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of what was opened here; a MetaDataset that was passed in stays open."""
        for opened in self._opened:
            opened.close()
