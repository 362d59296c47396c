"""The alarm: it breaks off what runs in the main thread, leaves nothing behind, and takes nobody else's place."""

from __future__ import annotations

import importlib
import math
import signal
import sys
import threading
import time

import numpy as np
import pytest

from nas.alarm import AGAIN, TimeOver, alarm

pytestmark = [
    pytest.mark.timeout(900, method="thread"),  # the other method waits for SIGALRM itself
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals"),
    pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="needs the main thread"),
]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def rings(seconds: float, wait: float = 20.0) -> bool:
    try:
        with alarm(time.monotonic() + seconds):
            time.sleep(wait)
    except TimeOver:
        return True
    return False


def test_it_rings_in_time_or_at_once_where_that_is_past_and_never_without_one():
    for seconds in (0.1, -5.0):
        began = time.monotonic()
        assert rings(seconds)
        assert time.monotonic() - began < 10
    assert not rings(5.0, wait=0.0)
    assert not rings(math.inf, wait=0.0)


def test_who_does_not_listen_hears_it_again():
    heard: list[TimeOver] = []

    def deaf() -> None:
        while len(heard) < 3:
            try:
                time.sleep(20)
            except BaseException as error:
                heard.append(error)
        raise heard[0]

    with pytest.raises(TimeOver), alarm(time.monotonic()):
        deaf()
    assert len(heard) == 3


def bring_forward() -> None:
    """Lets an alarm that is set ring now, where this is called, however long a busy machine took to get here."""
    signal.setitimer(signal.ITIMER_REAL, 0.01, AGAIN)


def test_an_import_ends_before_it_rings(tmp_path, monkeypatch):
    code = "import time\nfrom test_alarm import bring_forward\nbring_forward()\ntime.sleep(0.5)\nwhole = True\n"
    (tmp_path / "slowly_loaded.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def load() -> None:
        importlib.import_module("slowly_loaded")
        time.sleep(20)

    with pytest.raises(TimeOver), alarm(time.monotonic() + 60):
        load()
    assert sys.modules.pop("slowly_loaded").whole


def test_it_takes_no_place_that_somebody_else_has():
    heard: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    try:
        assert not rings(0.05, wait=0.3)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert not rings(0.01, wait=0.3)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert heard == [signal.SIGALRM]
    with pytest.raises(TimeOver), alarm(time.monotonic() + 0.1), alarm(math.inf), alarm(time.monotonic() + 60):
        time.sleep(20)


def test_in_another_thread_it_does_not_ring():
    rung: list[bool] = []
    thread = threading.Thread(target=lambda: rung.append(rings(0.05, wait=0.3)))
    thread.start()
    thread.join()
    assert rung == [False]


def test_what_was_broken_off_is_tidied_up_to_the_end():
    tidied: list[str] = []

    def untidy() -> None:
        try:
            bring_forward()
            time.sleep(20)
        finally:
            try:
                time.sleep(0.5)
                tidied.append("inside")
            finally:
                time.sleep(0.5)
                tidied.append("outside")

    with pytest.raises(TimeOver), alarm(time.monotonic() + 60):
        untidy()
    assert tidied == ["inside", "outside"]


def test_a_history_in_memory_is_kept():
    import nas
    from nas.record import DatasetInfo

    def read_on() -> None:
        while True:
            storage.datasets()

    info = DatasetInfo(fingerprint="f", name="one", kind="table", task="binary", rows=9, columns=2, classes=2)
    with nas.MetaDataset.open(":memory:") as storage:
        storage.add_dataset(info)
        for after in np.linspace(0.01, 0.1, 8):
            with pytest.raises(TimeOver), alarm(time.monotonic() + after):
                read_on()
        assert storage.datasets() == [info]


@pytest.mark.parametrize("seconds", [1e10, 1e300, sys.float_info.max])
def test_what_no_timer_reaches_is_no_limit(seconds):
    assert not rings(seconds, wait=0.0)
