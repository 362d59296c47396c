"""Does the library answer what users of other searches complain of?

``python -m benchmarks.users --out FILE.json [--only 3 6] [--jobs 2]``

Fifteen rows, the commonest complaints in the issue trackers of NAS and AutoML libraries, commonest first. Each runs the
command or the program that answers it in fresh processes and an empty folder with a history of its own, and checks what
came out of it; ``answered`` is whether every check held.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.record import write
from nas.metadataset import MetaDataset
from nas.record import Record

ROOT = Path(__file__).parents[1]
QUICK = ("--trials", "2", "--no-compare")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="+", default=range(1, len(ROWS) + 1), metavar="ROW")
    parser.add_argument("--jobs", type=int, default=1, help="rows at once; then seconds mean little")
    options = parser.parse_args()
    with ThreadPoolExecutor(options.jobs) as pool:  # each waits for processes of its own
        rows = list(pool.map(answered, options.only))
    total = sum(row["answered"] for row in rows)
    print(f"{total} of {len(rows)} answered")
    write(options.out, {"rows": rows, "answered": total})


def answered(number: int) -> Row:
    """Returns a complaint, what was run in answer to it, and how that ended."""
    complaint, answer = ROWS[number - 1]
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        began = time.monotonic()
        try:
            checks = answer(desk)
        except (subprocess.CalledProcessError, LookupError, ValueError, OSError) as error:
            checks = {"ran": False, "why": str(getattr(error, "stderr", "") or error)[-2000:]}
        seconds = time.monotonic() - began
    failed = [name for name, value in checks.items() if value is False]
    print(f"{number:2d} {'NO ' if failed else 'yes'} {complaint}: {checks}", flush=True)
    row = {"row": number, "complaint": complaint, "commands": desk.commands, "answered": not failed}
    return row | {"failed": failed, "outcome": checks, "seconds": seconds}


class Desk:
    """An empty folder with a history of its own, and what was run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.history = folder / "work", folder / "home" / "history.db"
        self.folder.mkdir()
        (folder / "tmp").mkdir()
        self.commands: list[str] = []
        self.environment = {
            **os.environ,
            "NAS_HISTORY": str(self.history),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(ROOT),
        }

    def command(self, *words: object) -> list[str]:
        self.commands.append(shlex.join(["nas", *map(str, words)]))
        return [sys.executable, "-m", "nas", *map(str, words)]

    def nas(self, *words: object) -> str:
        """Returns what a command that succeeds prints."""
        return self._output(self.command(*words))

    def python(self, program: str, *words: object, **environment: str) -> Any:
        """Returns the JSON that a program prints last."""
        self.commands.append(program.strip())
        printed = self._output([sys.executable, "-c", program, *map(str, words)], environment)
        return json.loads(printed.splitlines()[-1])

    def records(self, history: Path | None = None) -> list[Record]:
        """Returns the trials on record."""
        with MetaDataset.open(history or self.history, read_only=True) as store:
            return [record for record in store.records() if record.purpose == "screen"]

    def houses(self) -> Path:
        """Writes a table of a user's own: numbers with gaps, words, prices in dollars."""
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"rooms": rng.integers(1, 9, 200), "area": rng.normal(100, 20, 200).round(1)})
        frame["town"] = rng.choice(["Aachen", "Bath", "Cork"], 200)
        frame["price"] = 50_000 * frame.rooms + 1_000 * frame.area + 20_000 * (frame.town == "Bath")
        frame.loc[::7, "area"] = np.nan
        frame.to_csv(self.folder / "houses.csv", index=False)
        return self.folder / "houses.csv"

    def _output(self, words: list[str], environment: dict[str, str] | None = None) -> str:
        where = {**self.environment, **(environment or {})}
        done = subprocess.run(words, cwd=self.folder, env=where, capture_output=True, text=True)
        done.check_returncode()
        return done.stdout


def install(desk: Desk) -> Row:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(desk.folder), str(ROOT)]
    desk.commands.append("pip install --no-deps .")
    began = time.monotonic()
    subprocess.run(pip, check=True, capture_output=True, text=True, cwd=desk.folder)
    seconds = time.monotonic() - began
    home = desk.python("import nas, json; print(json.dumps(nas.__file__))", PYTHONPATH=str(desk.folder))
    known = [line for line in requires("nas") or [] if "extra ==" not in line]
    return {
        "imports from where it was installed": Path(home).is_relative_to(desk.folder),
        "pinned to one version": [line for line in known if "==" in line],
        "nothing is pinned": not any("==" in line for line in known),
        "bounded above": [line for line in known if "<" in line],
        "seconds without dependencies": seconds,
    }


def own_data(desk: Desk) -> Row:
    words = ("search", desk.houses(), "--target", "price", *QUICK, "--export", "model.onnx", "--json")
    told = json.loads(desk.nas(*words))
    return {"file": (desk.folder / "model.onnx").exists(), "r2 on rows set aside": told["test"]["r2"]}


FINAL = """
import json, time, nas, torch
from sklearn.datasets import load_wine
X, y = load_wine(return_X_y=True)
nas.search((X, y), trials=2)
began = time.monotonic()
result = nas.search((X, y), trials=2)     # the same call: the finished search, nothing is trained
seconds = time.monotonic() - began
network = result.model()
rows = network(torch.tensor(X, dtype=torch.float32))
print(json.dumps({"module": isinstance(network, torch.nn.Module), "shape": list(rows.shape), "seconds": seconds,
    "accuracy on its own rows": float((rows.argmax(1).numpy() == y).mean()), "score": result.confirmation.score}))
"""


def final_model(desk: Desk) -> Row:
    told = desk.python(FINAL)
    return told | {"rows in, probabilities out": told["shape"] == [178, 3], "two records": len(desk.records()) == 2}


SAVE = """
import json, hashlib
from nas import NASClassifier
from sklearn.datasets import load_wine
X, y = load_wine(return_X_y=True)
fitted = NASClassifier(trials=2).fit(X, y)
fitted.save("wine.nas")
report = fitted.result_.export("wine.onnx")
bits = hashlib.sha256(fitted.predict_proba(X).tobytes()).hexdigest()
print(json.dumps([bits, fitted.score(X, y), report.largest_difference]))
"""
LOAD = """
import json, hashlib
from nas import NASClassifier
from sklearn.datasets import load_wine
X, y = load_wine(return_X_y=True)
loaded = NASClassifier.load("wine.nas")
print(json.dumps([hashlib.sha256(loaded.predict_proba(X).tobytes()).hexdigest(), loaded.score(X, y)]))
"""


def saved_model(desk: Desk) -> Row:
    before, after = desk.python(SAVE), desk.python(LOAD)
    return {
        "same bits in a fresh process": before[0] == after[0],
        "scores": [before[1], after[1]],
        "largest difference of the ONNX file": before[2],
        "within 1e-4": before[2] <= 1e-4,
    }


DEPLOY = """
import sys, json
sys.modules["nas"] = sys.modules["torch"] = None      # neither can be imported
import numpy as np, onnxruntime, pandas as pd
rows = pd.read_csv("houses.csv").head(20)
numbers = rows[["rooms", "area"]].to_numpy(np.float32)
words = rows[["town"]].to_numpy(str).astype(object)
session = onnxruntime.InferenceSession("model.onnx")
print(json.dumps(session.run(None, {"numeric": numbers, "categorical": words})[0].ravel().tolist()))
"""


def deployment(desk: Desk) -> Row:
    for name in ("model.onnx", "model.pt2", "model.py"):
        desk.nas("search", desk.houses(), "--target", "price", *QUICK, "--export", name)
    bare = np.array(desk.python(DEPLOY))
    told = json.loads(desk.nas("predict", "model.onnx", "houses.csv", "--json"))
    ours = np.array([row["prediction"] for row in told])[:20]
    desk.commands.append("python model.py houses.csv")
    alone = subprocess.run(
        [sys.executable, "-I", "model.py", "houses.csv"], cwd=desk.folder, capture_output=True, text=True, check=True
    )
    source = np.array([float(line.split(",")[-1]) for line in alone.stdout.splitlines()[1:21]])
    limit = 1e-4 * max(1.0, float(np.abs(bare).max()))
    return {
        "largest value": float(np.abs(bare).max()),
        "ONNX Runtime alone - nas predict": float(np.abs(bare - ours).max()),
        "Python source alone - ONNX Runtime alone": float(np.abs(source - bare).max()),
        "all within 1e-4 of the largest": bool(max(np.abs(bare - ours).max(), np.abs(source - bare).max()) <= limit),
    }


def resume(desk: Desk) -> Row:
    words = ("search", "iris", "--controller", "evolution", "--no-compare", "--trials")
    running = subprocess.Popen(
        desk.command(*words, 6), cwd=desk.folder, env=desk.environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    for line in running.stdout:
        if re.match(r"\s+2  ", line):  # the second trial has ended
            break
    running.send_signal(signal.SIGKILL)
    running.communicate()
    killed = [record.key for record in desk.records()]
    desk.nas(*words, 6)
    went_on = [record.key for record in desk.records()]
    desk.nas(*words, 8)
    more = [record.key for record in desk.records()]
    return {
        "records when it was killed, after the same call, after more trials": [len(killed), len(went_on), len(more)],
        "nothing was trained again": went_on[: len(killed)] == killed and more[:6] == went_on and len(set(more)) == 8,
    }


def disk(desk: Desk) -> Row:
    desk.nas("search", "iris", "--trials", 6, "--controller", "random", "--no-compare", "--export", "iris.onnx")
    home = desk.folder.parent
    files = {str(f.relative_to(home)): f.stat().st_size for f in home.rglob("*") if f.is_file()}
    others = [name for name in files if not name.startswith(("home/history.db", "work/iris.onnx"))]
    total = sum(files.values())
    return {"files": files, "nothing but the history and the file asked for": not others, "bytes": total}


EXPLAIN = """
import json, nas
told = nas.search("iris", trials=2, test=.2).explain()    # the same search again: nothing is trained
print(json.dumps([dict(told.weights), dict(told.ignored)]))
"""


def reuse(desk: Desk) -> Row:
    desk.nas("search", "wine", *QUICK)
    told = desk.nas("search", "iris", *QUICK)
    found = re.search(r"listening to .*", told)
    past = json.loads(desk.nas("history", "list", "--json"))
    shares, ignored = desk.python(EXPLAIN)
    return {
        "said": found[0] if found else "",
        "history was used": bool(found) and sum(shares.values()) > 0,
        "earlier searches on record": [row["dataset"] for row in past],
        "the earlier search is accounted for": "wine" in shares | ignored,
        "what became of it": {"wine": shares.get("wine", ignored.get("wine"))},
    }


SPACES = """
import json, nas
from sklearn.datasets import load_wine
X, y = load_wine(return_X_y=True)

def space(*activations, deeper=False):
    space = nas.SearchSpace("mine")
    space.add_input("x"); space.add_output("y")
    space.add_node("a", "linear", width=nas.Integer(8, 64)); space.add_node("b", nas.Choice(*activations))
    space.add_edge("x", "a"); space.add_edge("a", "b"); space.add_edge("b", "y")
    if deeper:
        space.add_node("c", "linear", width=nas.Integer(8, 64)); space.add_edge("b", "c"); space.add_edge("c", "y")
    space.add_setting("learning_rate", nas.Float(.001, .5, log=True))
    return space

rows = [i for i in range(len(y)) if i % 5]
nas.search((X[rows], y[rows]), space=space("relu", "tanh"), trials=6, controller="random", history=None, storage="h.db")
with nas.MetaDataset.open("h.db", read_only=True) as history:          # alone: without the shipped knowledge
    result = nas.search((X, y), space=space("relu", "silu", "mish", deeper=True), trials=2, history=history,
                        storage="other.db")
print(json.dumps([dict(result.explain().weights), dict(result.explain().ignored), list(result.notes)]))
"""


def changed_space(desk: Desk) -> Row:
    weights, ignored, notes = desk.python(SPACES)
    return {"shares of the past": weights, "ignored": ignored, "notes": notes, "it spoke": sum(weights.values()) > 0}


OWN = """
import json, nas
from dataclasses import replace
from nas.evaluation import describe
data = nas.load("wine")
with nas.MetaDataset.open("mine.db") as mine:              # results from elsewhere become a history
    with nas.MetaDataset.from_pack(PACK) as pack:
        info, records = pack.datasets()[0], pack.records(dataset=pack.datasets()[0].fingerprint)
    mine.add_dataset(replace(info, name="measured elsewhere"))
    mine.append([replace(record, search="elsewhere", number=i) for i, record in enumerate(records)])
    result = nas.search(data, trials=2, metric="roc_auc_ovr", history=mine, storage="new.db")
print(json.dumps([result.best.metric, sorted(result.best.outcome.metrics), dict(result.explain().weights)]))
"""


def own_metadata(desk: Desk) -> Row:
    pack = ROOT / "nas" / "knowledge" / "tabular.parquet"
    metric, kept, weights = desk.python(OWN.replace("PACK", repr(str(pack))))
    near = json.loads(desk.nas("history", "audit", "--data", "wine", "--json"))["near"]["nearest"]
    return {
        "metric": metric,
        "also on record": kept,
        "asked for": metric == "roc_auc_ovr" and {"accuracy", "brier"} <= set(kept),
        "own records were listened to": "measured elsewhere" in weights,
        "neighbours": [row["name"] for row in near[:3]],
    }


MEMORY = """
import json, resource, nas
def build(shape, megabytes=1):
    import torch
    class Hungry(torch.nn.Module):
        def forward(self, x):
            torch.zeros(megabytes * 2**18, dtype=torch.float32)
            return x
    return Hungry()
hungry = nas.Operation("hungry", 1, build, shape=lambda shape, megabytes=1: shape, parameters={"megabytes": 1})
space = nas.SearchSpace("mine", operations=nas.BUILTIN | {"hungry": hungry})
space.add_input("x"); space.add_output("y")
space.add_node("a", "linear", width=nas.Integer(8, 64))
space.add_node("b", nas.Op("hungry", megabytes=nas.Choice(1, 64_000)))
space.add_edge("x", "a"); space.add_edge("a", "b"); space.add_edge("b", "y")
import torch, nas.training, nas.controllers.random, sklearn.metrics, optuna   # before addresses run short
resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
result = nas.search("iris", space=space, trials=6, controller="random", history=None, storage="h.db")
print(json.dumps([r.outcome.status for r in result.records]))
"""


def memory(desk: Desk) -> Row:
    statuses = desk.python(MEMORY)
    both = set(statuses) == {"complete", "oom"}
    return {"trials": statuses, "out of memory ends a candidate, not the search": both, "GPU": "not measured here"}


SHAPES = """
import json, nas, numpy as np, torch
from nas.model import Signature, count
space = nas.SearchSpace("mine")
space.add_input("x"); space.add_output("y", join=nas.Choice("add", "concat"))
space.add_node("a", "linear", width=nas.Integer(3, 300, log=True))
space.add_node("b", nas.Choice(nas.Op("gated_linear"), "linear", "identity"), width=nas.Integer(3, 300, log=True))
space.add_node("c", nas.Choice("relu", "zero"), join=nas.Choice("add", "concat"))
for s, t in [("x", "a"), ("a", "b"), ("b", "c"), ("x", "c"), ("a", "y"), ("c", "y"), ("x", "y")]:
    space.add_edge(s, t, optional=(s, t) in {("x", "c"), ("a", "y"), ("x", "y")})
rng, signature, agree = np.random.default_rng(0), Signature({"x": (7,)}, 3), 0
for _ in range(200):
    architecture = space.architecture(space.sample(rng))
    network = nas.build(architecture, signature, seed=0)
    said = count(architecture, signature).parameters      # before anything is allocated
    agree += network({"x": torch.randn(5, 7)}).shape == (5, 3) and said == sum(p.numel() for p in network.parameters())
print(json.dumps(agree))
"""


def shapes(desk: Desk) -> Row:
    agree = desk.python(SHAPES)
    return {"of 200 networks of any widths that run, with the size foretold": agree, "all": agree == 200}


DUPLICATES = """
import json, nas
space = nas.SearchSpace("mine")
space.add_input("x"); space.add_output("y")
space.add_node("a", "linear", width=nas.Choice(8, 16)); space.add_node("b", nas.Choice("relu", "tanh", "identity"))
space.add_node("c", nas.Choice("identity", "zero"))
for s, t in [("x", "a"), ("a", "b"), ("b", "y"), ("x", "c"), ("c", "y")]:
    space.add_edge(s, t)
result = nas.search("iris", space=space, trials=40, controller="random", history=None, storage="h.db")
choices = 2 * 3 * 2
print(json.dumps([choices, len(result.records), len({r.key for r in result.records}), list(result.notes)]))
"""


def duplicates(desk: Desk) -> Row:
    choices, trained, distinct, notes = desk.python(DUPLICATES)
    return {
        "choices": choices,
        "trained of 40 asked for": trained,
        "each once": trained == distinct <= choices,
        "notes": notes,
    }


def reproducible(desk: Desk) -> Row:
    traces = []
    for place, seed in (("a.db", 0), ("b.db", 0), ("c.db", 1)):
        desk.nas("search", "wine", *QUICK, "--seed", seed, "--history", place)
        found = [(r.key, r.score, r.outcome.curve) for r in desk.records(desk.folder / place)]
        traces.append(hashlib.sha256(repr(found).encode()).hexdigest())
    return {"same seed, same bits": traces[0] == traces[1], "another seed differs": traces[0] != traces[2]}


def moving_parts(desk: Desk) -> Row:
    desk.nas("search", "iris", *QUICK)
    desk.nas("report", "--out", "report.html")
    page = (desk.folder / "report.html").read_text()
    loads = re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//[^"'> ]+""", page)
    return {
        "bytes": len(page.encode()),
        "below 1 MB": len(page.encode()) < 1_000_000,
        "loads nothing from elsewhere": not loads,
        "files": sorted(f.name for f in desk.folder.iterdir()),
    }


ROWS: list[tuple[str, Callable[[Desk], Row]]] = [
    ("cannot install: exact pins, old Pythons", install),
    ("how do I use my own data?", own_data),
    ("how do I get the final model?", final_model),
    ("the saved model gives another score", saved_model),
    ("ONNX, deployment", deployment),
    ("resume after a crash, continue with more trials", resume),
    ("checkpoints fill the disk", disk),
    ("reuse of history: was it used?", reuse),
    ("the space changed and history is lost", changed_space),
    ("my own meta-data, another metric", own_metadata),
    ("out of memory kills the search", memory),
    ("widths, depths, shapes that do not match", shapes),
    ("duplicate trials waste the budget", duplicates),
    ("not reproducible", reproducible),
    ("servers and viewers that fail to start", moving_parts),
]

if __name__ == "__main__":
    main()
