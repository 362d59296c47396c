"""Ctrl-C, and an order to end: what is under way is given up, what ended is kept, and nobody is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hanging import space_of
from processes import alive, needs_proc, until
from test_loop import ROOT, data, small_space
from test_running import kept, options

import nas
from nas.controllers.random import RandomController
from nas.loop import Search
from nas.metadataset import MetaDataset

TRIALS = 5
SCRIPT = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from hanging import space_of
from test_running import data, options
from nas.controllers.random import RandomController
import nas

folder, when = Path(sys.argv[2]), int(sys.argv[3])
tell, told = RandomController.tell, []

def tell_and_hang(self, records):
    tell(self, records)
    told.extend(records)
    if len(told) >= when:  # whatever is trained from now on hangs
        (folder / "what").write_text("hang")

RandomController.tell = tell_and_hang
result = nas.search(data(), space=space_of("hanging"), trials={TRIALS}, workers=2, **options(folder))
print(len(result.records), len(result.confirmed), *result.notes)
"""


@needs_proc
@pytest.mark.parametrize(
    ("sent", "when"),
    [([signal.SIGINT], 2), ([signal.SIGINT], TRIALS), ([signal.SIGINT] * 2, 2), ([signal.SIGTERM], 2)],
    ids=["among trials", "among finalists", "twice", "SIGTERM"],
)
def test_nothing_is_lost_and_nobody_is_left(tmp_path, monkeypatch, sent, when):
    monkeypatch.setenv("HANGING", str(tmp_path))
    (tmp_path / "what").write_text("note")
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path), str(when)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
    try:
        for each in sent:  # the second one among the finalists, which hang as well
            until(lambda: (tmp_path / "hangs").exists() or process.poll() is not None)
            workers = [each.name.split()[1] for each in tmp_path.glob("pid *")]
            process.send_signal(each)
            until(lambda: not any(map(alive, workers)))  # noqa: B023 - asked within the turn
            (tmp_path / "hangs").unlink()
        (tmp_path / "what").write_text("")
        (tmp_path / "let go").touch()  # finalists may hang by now
        printed, complaint = process.communicate(timeout=300)
    finally:
        process.kill()
    count = kept(tmp_path)
    with MetaDataset.open(tmp_path / "h.db") as history:
        assert not any(info.finished for info in history.searches())
    assert count == TRIALS if when == TRIALS else count in (2, 3)
    if sent == [signal.SIGINT]:
        assert process.returncode == 0, complaint
        confirmed = 0 if when == TRIALS else min(count, 3)
        assert printed.split()[:2] == [str(count), str(confirmed)]
        assert "the same call goes on with the others" in printed
    else:
        assert process.returncode == -sent[0]
    result = nas.search(data(), space=space_of("hanging"), trials=TRIALS, **options(tmp_path))
    assert (len(result.records), len(result.confirmed), kept(tmp_path)) == (TRIALS, 3, TRIALS)


def test_interrupted_while_it_is_replayed_a_search_gives_the_best_on_record(tmp_path, monkeypatch):
    more = {"space": small_space(), "trials": TRIALS} | options(tmp_path)
    whole = nas.search(data(), **more)
    ask = RandomController.ask

    def interrupted(self, count=1):
        if len(self._told) == 2:
            raise KeyboardInterrupt
        return ask(self, count)

    monkeypatch.setattr(RandomController, "ask", interrupted)
    with Search(nas.load(data()), **(more | {"trials": TRIALS + 3})) as search:
        assert list(search.run()) == list(whole.records)
        result = search.finish()
    assert (result.best, result.confirmed) == (whole.best, whole.confirmed)
    assert any(note.startswith(f"interrupted after {TRIALS} of {TRIALS + 3} trials") for note in result.notes)
