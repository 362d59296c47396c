"""``nas dashboard``: the records in optuna-dashboard, on this machine alone, renewed while a search goes on."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.cli.arguments import Commands
from nas.cli.searches import add_place, names_of, one_of, opened
from nas.errors import SearchError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from optuna.storages import BaseStorage

    from nas.metadataset import MetaDataset

HOST = "127.0.0.1"  # nobody else is served
RENEWED = 3.0  # seconds between two looks for new records


def add(commands: Commands) -> None:
    """Declares ``nas dashboard``."""
    command = commands.add_parser("dashboard", help="the trials in optuna-dashboard")
    command.add_argument("search", nargs="?", help="its name, or the beginning of it (all searches)")
    add_place(command)
    command.add_argument("--port", type=int, default=8080, help="0 takes any that is free (%(default)s)")
    command.add_argument("--json", action="store_true", help="print the address as JSON")
    command.set_defaults(run=_dashboard)


def _dashboard(options: argparse.Namespace) -> int:
    from optuna.storages import InMemoryStorage

    storage, stopped = InMemoryStorage(), threading.Event()
    with opened(options) as history:
        names = names_of(history)
        wanted = [one_of(names, options.search)] if options.search or not names else names
        server = _server(storage, options.port)
        counts = show(history, wanted, storage, {})
        address = f"http://{HOST}:{server.server_port}/dashboard/"
        what = wanted[0] if len(wanted) == 1 else f"{len(wanted):,} searches"
        told = json.dumps({"address": address, "searches": wanted}) if options.json else ""
        print(told or f"{what}: {address} (Ctrl-C ends it)", flush=True)
        renewal = threading.Thread(target=_renew, args=(history, wanted, storage, counts, stopped), daemon=True)
        renewal.start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            if not options.json:
                print("closed; the records stay where they are")
        finally:
            stopped.set()
            renewal.join()
            server.server_close()
    return 0


def show(history: MetaDataset, searches: list[str], storage: BaseStorage, shown: Mapping[str, int]) -> dict[str, int]:
    """Writes what the storage lacks of these searches, a study each; returns how many records each has by now.

    shown: how many each had when it was last written.
    """
    from nas.report import Account
    from nas.study import domains_of, study_of

    counts = history.counts()
    datasets = {data.fingerprint: data.name for data in history.datasets()}
    for name in searches:
        if counts.get(name, 0) != shown.get(name):
            info = history.search(name)
            domains = domains_of(Account.from_dict(info.account).decisions) if info else {}
            study = study_of(history.records(search=name), domains, name=name, storage=storage)
            if info is not None:
                study.set_user_attr("dataset", datasets.get(info.dataset, info.dataset))
                study.set_user_attr("controller", info.controller)
    return counts


def _renew(
    history: MetaDataset, searches: list[str], storage: BaseStorage, shown: dict[str, int], stopped: threading.Event
) -> None:
    """Shows what a search that goes on elsewhere has recorded, until it is stopped."""
    while not stopped.wait(RENEWED):
        shown = show(history, searches, storage, shown)


def _server(storage: BaseStorage, port: int) -> WSGIServer:
    """Returns a server of optuna-dashboard that is bound to its port.

    Raises:
        SearchError: Where optuna-dashboard is not installed, or the port is not to be had.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise SearchError(
            "`nas dashboard` needs optuna-dashboard, which is not installed: pip install 'nas[dashboard]'."
        ) from None

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing of single requests."""

    try:
        return make_server(HOST, port, wsgi(storage), server_class=Server, handler_class=Quiet)
    except (OSError, OverflowError) as error:
        raise SearchError(
            f"port {port} of {HOST} cannot be served ({error}); pass another, or --port 0 for any that is free."
        ) from error
