"""Executors: the same results here and in processes; real hangs, deaths and errors harm no other call."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import alive, needs_proc, until

from nas.errors import DataError, SearchError
from nas.executors import Done, Failed, Here, Notice, Processes

ROOT = Path(__file__).parents[1]
ENDED = r"it was ended after \d+ seconds\."


def prepare(shared: int, notice: Notice) -> Callable[[Any], Any]:
    """Returns what does as the item says."""

    def work(item: Any) -> Any:
        if item == "hang":
            time.sleep(600)
        if item == "die":
            os._exit(7)
        if item == "raise":
            raise DataError("no good")
        if item == "threads":
            return os.environ["OMP_NUM_THREADS"]
        if item == "print":
            print("an operation says something")
            return "printed"
        if isinstance(item, Path):
            item.write_text(str(os.getpid()))
            time.sleep(600)
        if isinstance(item, tuple):  # a process of a process, which holds what it has open
            child = os.fork()
            if child:
                item[0].write_text(str(child))
                notice("has a child")
            if child and "die" in item:
                os._exit(7)
            time.sleep(600)
        return shared + item

    return work


def busy_and_hanging(shared: int, notice: Notice) -> Callable[[Any], Any]:
    """Returns what works as often as the item says, says so each time, and hangs at the last."""

    def work(item: int) -> Any:
        for i in range(item):
            notice(i)
            time.sleep(0.3)
        time.sleep(600)

    return work


def test_who_says_what_it_is_doing_has_time_anew_and_is_remembered_by_it():
    allowed = {None: 1.4, 5: 0.5}  # until it first says something, and after what it says last

    with Processes(busy_and_hanging, 0, workers=1, seconds=lambda item, busy: allowed.get(busy, 60.0)) as pool:
        started = time.monotonic()
        ((_, failed),) = pool.run([6])
        spent = time.monotonic() - started
    assert (failed.kind, failed.busy) == ("timeout", 5)
    assert failed.seconds >= 0.5
    assert spent - failed.seconds > 5 * 0.3  # more than it had at first; seconds are those since it said something
    assert spent < 300


def refuse(shared: object, notice: Notice) -> Callable[[Any], Any]:
    raise ImportError("no such library")


def fall(shared: object, notice: Notice) -> Callable[[Any], Any]:
    os._exit(3)


def test_processes_give_what_this_process_gives():
    expected = dict(Here(prepare, 10).run([1, 2, 3]))
    assert expected == {1: Done(11), 2: Done(12), 3: Done(13)}
    before = dict(os.environ)
    with Processes(prepare, 10, workers=2) as pool:
        assert dict(pool.run([1, 2, 3])) == expected
        assert dict(pool.run(["threads", "print", 5])) == {"threads": Done("1"), "print": Done("printed"), 5: Done(15)}
        assert dict(pool.run([])) == {}
    assert dict(os.environ) == before


def test_an_item_is_taken_when_there_is_a_place_for_it():
    for executor, places in ((Here(prepare, 0), 1), (Processes(prepare, 0, workers=2), 2)):
        taken, given = 0, 0

        def items(given: Callable[[], int], places: int):
            nonlocal taken
            for number in range(5):
                assert taken - given() < places
                taken += 1
                yield number

        with executor:
            for _ in executor.run(items(lambda: given, places)):  # noqa: B023
                given += 1
        assert taken == given == 5


def test_what_a_call_raises_is_raised():
    with pytest.raises(DataError, match="no good"):
        list(Here(prepare, 10).run(["raise"]))
    with Processes(prepare, 10, workers=1) as pool, pytest.raises(DataError, match="no good"):
        list(pool.run(["raise"]))


def test_a_call_that_hangs_or_dies_is_ended_alone():
    start = time.monotonic()
    with Processes(prepare, 10, workers=2, seconds=lambda item, busy: 1.0 if item == "hang" else 60.0) as pool:
        found = dict(pool.run(["hang", 1, "die", 2, 3]))
    assert time.monotonic() - start < 300
    assert found["hang"].kind == "timeout"
    assert re.fullmatch(ENDED, found["hang"].message)
    assert found["die"] == Failed("died", "its process ended with code 7; it may have run out of memory.")
    assert [found[i] for i in (1, 2, 3)] == [Done(11), Done(12), Done(13)]


@needs_proc
def test_what_a_call_started_ends_with_it(tmp_path):
    start = time.monotonic()
    with Processes(prepare, 10, workers=1, seconds=lambda item, busy: 0.3 if busy else 60.0) as pool:
        found = dict(pool.run([(tmp_path / "pid",), 1]))
    assert found[1] == Done(11)
    assert time.monotonic() - start < 300
    until(lambda: not alive((tmp_path / "pid").read_text()))


@needs_proc
def test_a_process_that_died_is_noticed_though_what_it_started_lives(tmp_path):
    start = time.monotonic()
    with Processes(prepare, 10, workers=1) as pool:  # nothing is ended for taking long
        found = dict(pool.run([(tmp_path / "pid", "die"), 1]))
    assert time.monotonic() - start < 300
    assert [each.kind for each in found.values() if isinstance(each, Failed)] == ["died"]
    assert found[1] == Done(11)
    until(lambda: not alive((tmp_path / "pid").read_text()))


def test_what_cannot_be_sent_is_refused_with_the_way_out():
    with pytest.raises(SearchError, match="define operations, metrics and pruners in a module"):
        Processes(prepare, lambda: 0, workers=2)
    with pytest.raises(SearchError, match="workers >= 1"):
        Processes(prepare, workers=0)
    script = (
        "from nas.executors import Processes\n"
        "def own(shared): return abs\n"
        "try: Processes(own, workers=2)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "own is defined in the script itself" in done.stdout
    assert "use one worker" in done.stdout


def test_a_process_that_cannot_load_is_one_sentence():
    with Processes(refuse, workers=1) as pool, pytest.raises(SearchError, match="ImportError: no such library"):
        list(pool.run([1]))
    with Processes(fall, workers=1) as pool, pytest.raises(SearchError, match="one ended with code 3"):
        list(pool.run([1]))


@needs_proc
def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    """No guard is needed in a script, and ``kill -9`` leaves nobody behind."""
    note = tmp_path / "pid"
    script = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_executors\n"
        "from nas.executors import Processes\n"
        "with Processes(test_executors.prepare, 0, workers=1) as pool:\n"
        "    list(pool.run([Path(sys.argv[2])]))\n"
    )
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), str(Path(__file__).parent), str(note)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    until(lambda: note.exists() and note.read_text())
    assert alive(note.read_text())
    process.kill()
    process.wait()
    until(lambda: not alive(note.read_text()))


@pytest.mark.timeout(900, method="thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_what_hangs_here_is_broken_off_and_the_next_call_goes_on():
    with Here(prepare, 1, seconds=lambda item, busy: 0.3 if item == "hang" else 60.0) as executor:
        found = dict(executor.run(["hang", 1]))
    assert found["hang"].kind == "timeout"
    assert re.fullmatch(ENDED, found["hang"].message)
    assert found[1] == Done(2)


def test_a_process_that_has_not_loaded_in_time_gives_its_call_up():
    began = time.monotonic()
    with Processes(slowly, 1, workers=1, until=time.monotonic() + 0.5) as executor:
        ((_, failed),) = executor.run([1])
    assert failed == Failed("timeout", "it was ended after 0 seconds.")
    assert time.monotonic() - began < 300


def slowly(shared: int, notice: Notice) -> Callable[[Any], Any]:
    """Returns nothing for ten minutes."""
    time.sleep(600)
    return prepare(shared, notice)
