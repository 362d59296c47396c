"""``nas history forget``, ``export``, ``import`` and ``merge``: each says what it did, and asks nothing."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.arguments import Commands
from nas.cli.searches import add_place, names_of, opened
from nas.cli.text import as_json
from nas.readable import counted, in_bytes

if TYPE_CHECKING:
    from nas.metadataset import Merged, MetaDataset


def add(commands: Commands) -> None:
    """Declares the four commands."""
    forgotten = commands.add_parser("forget", help="remove a search, or a dataset with every search on it")
    forgotten.add_argument("id", help="a search, a dataset, or how the name or fingerprint of one begins")
    exported = commands.add_parser("export", help="write a pack to pass on; it holds no raw data")
    exported.add_argument("file", type=Path, metavar="FILE.parquet")
    exported.add_argument("--anonymous", action="store_true", help="names of datasets and searches become hashes")
    imported = commands.add_parser("import", help="take in a pack")
    imported.add_argument("file", type=Path, metavar="FILE.parquet")
    merged = commands.add_parser("merge", help="take in another history")
    merged.add_argument("other", metavar="PLACE", help="a path or database URL")
    for command, run in ((forgotten, _forget), (exported, _export), (imported, _import), (merged, _merge)):
        add_place(command)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)


def _forget(options: argparse.Namespace) -> int:
    with _writable(options, must_exist=True) as history:
        search, dataset = _meant(history, options.id)
        removed = history.forget(search) if search else history.forget_dataset(dataset)
        place, copies = history.place, history.older_copies()
    if options.json:
        print(as_json({**asdict(removed), "older_copies": list(map(str, copies))}))
        return 0
    what = [f"search {name}" for name in removed.searches] + [f"dataset {name}" for name in removed.datasets]
    print(f"forgot {', '.join(what)} and {removed.records} records in {place}; what is learned from now on lacks them")
    if not removed.erased:
        when = "by its next VACUUM FULL" if "://" in place else "when nobody reads it any more"
        print(f"note: the bytes freed in {place} are not overwritten yet; that is done {when}")
    for copy in copies:
        print(f"note: {copy}, made before an upgrade, still holds them; delete it if nobody needs it")
    return 0


def _export(options: argparse.Namespace) -> int:
    from nas.metadataset.pack import reveals

    with opened(options) as history:
        path = history.export_pack(options.file, anonymous=options.anonymous)
        sizes = history.sizes()
    size = path.stat().st_size
    told = reveals(options.anonymous)
    if options.json:
        print(as_json({"file": str(path), "bytes": size, **sizes, "reveals": told}))
    else:
        print(f"wrote {path}: {_counted(**sizes)}, {in_bytes(size)}\nit reveals: {told}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from nas.metadataset import MetaDataset

    with MetaDataset.from_pack(options.file) as pack:
        return _take(options, pack)


def _merge(options: argparse.Namespace) -> int:
    from nas.metadataset import MetaDataset

    with MetaDataset.open(options.other, read_only=True) as other:
        return _take(options, other)


def _take(options: argparse.Namespace, other: MetaDataset) -> int:
    with _writable(options, must_exist=False) as history:
        merged, place = history.merge(other), history.place
    if options.json:
        print(as_json(asdict(merged)))
        return 0
    print(_taken(merged, other.place, place))
    for name, new in merged.renamed.items():
        print(f"note: {place} has another search {name}; that of {other.place} is {new} now")
    return 0


def _taken(merged: Merged, source: str, place: str) -> str:
    if not (merged.datasets or merged.searches or merged.records):
        return f"{place} holds all of {source} already"
    return f"took {_counted(merged.datasets, merged.searches, merged.records)} from {source} into {place}"


def _counted(datasets: int, searches: int, records: int) -> str:
    return f"{counted(datasets, 'dataset')}, {counted(searches, 'search')}, {counted(records, 'record')}"


def _writable(options: argparse.Namespace, *, must_exist: bool) -> MetaDataset:
    """Returns the very history that is meant, to be changed: never a stand-in for one that cannot be written."""
    from nas.metadataset import MetaDataset
    from nas.metadataset.place import default

    place = default() if options.history is None else options.history
    if must_exist:
        MetaDataset.open(place, read_only=True).close()
    return MetaDataset.open(place)


def _meant(history: MetaDataset, word: str) -> tuple[str, str]:
    """Returns (name of a search, "") or ("", fingerprint of a dataset): the one that is meant.

    Raises:
        HistoryError: Where none or several are meant.
    """
    from nas.errors import HistoryError, nearest

    searches, infos = names_of(history), history.datasets()
    if word in searches:
        return word, ""
    exact = [info for info in infos if word in (info.name, info.fingerprint)]
    if len(exact) == 1:
        return "", exact[0].fingerprint
    found = {f"search {name}": (name, "") for name in searches if word and name.startswith(word)} if not exact else {}
    for info in exact or [info for info in infos if word and info.fingerprint.startswith(word)]:
        found[f"dataset {info.name} {info.fingerprint[:12]}"] = ("", info.fingerprint)
    if len(found) != 1:
        several = f": {', '.join(list(found)[:5])}" if found else ""
        names = [*searches, *(info.name for info in infos)]
        raise HistoryError(
            f"one search or dataset must be named, but {word!r} means {len(found)} of them{several};"
            f"{nearest(word, names)} `nas history list` shows them."
        )
    return next(iter(found.values()))
