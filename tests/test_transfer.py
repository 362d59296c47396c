"""The transfer benchmark: a table as a space and records, what is known beforehand, what is counted."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rivals import RIVALS
from benchmarks.rivals.gaussian import Process, pool, standardised
from benchmarks.rivals.rgpe import ranking_loss
from benchmarks.standing import Run, summary
from benchmarks.table import load, space_of
from benchmarks.together import main as together_main
from benchmarks.together import together
from benchmarks.transfer import SLOW_MS, SLOW_SEEDS, Protocol, factory, main, measure, past_of, search
from nas.controllers import Problem
from nas.controllers.random import RandomController
from nas.errors import DataError, SearchError
from nas.metadataset import MetaDataset
from nas.space import identity

OPS = ["none", "skip", "zero", "identity"]
DECISIONS = [
    {"name": "input_1", "kind": "node_input", "node": "2", "values": ["0", "1"]},
    {"name": "op_1", "kind": "node_op", "node": "1", "values": OPS},
    {"name": "op_2", "kind": "node_op", "node": "2", "values": OPS},
    {"name": "depth", "kind": "ordinal", "values": [2, 4, 8]},
    {"name": "agg", "kind": "categorical", "values": ["1", "2"]},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A table of half of the choices of a space with every kind of decision but edges; three tasks, two families."""
    rng = np.random.default_rng(0)
    sizes = [len(d["values"]) for d in DECISIONS]
    arch = np.stack([a.ravel() for a in np.meshgrid(*map(np.arange, sizes), indexing="ij")], axis=1)
    arch = arch[rng.permutation(len(arch))[: len(arch) // 2]].astype(np.int16)
    val = (arch @ rng.random((5, 3)) + 0.1 * rng.random((len(arch), 3))).astype(np.float32)
    val[:4, 2] = np.nan
    file = tmp_path_factory.mktemp("table") / "small.npz"
    np.savez(
        file, arch=arch, decisions=json.dumps(DECISIONS), tasks=np.array(["a", "b", "c"]),
        families=np.array(["one", "one", "two"]), val=val, test=val,
    )  # fmt: skip
    return file


def test_rows_are_the_choices_of_the_space_and_tell_architectures_apart(path):
    table = load(path)
    raw = np.load(path)
    assert table.spaces[0].size == len(raw["arch"])
    for row, choices in zip(raw["arch"], table.choices, strict=True):
        assert [d["values"].index(type(d["values"][0])(str(choices[d["name"]]).removesuffix("_operation")))
                for d in DECISIONS] == list(row)  # fmt: skip
    keys = {table.spaces[0].architecture(c).key for c in table.choices}
    computed = set()
    for c in table.choices:
        ops = (c["op_1"], c["op_2"]) if c["input_1"] == "1" else tuple(sorted((c["op_1"], c["op_2"])))  # side by side
        computed.add((c["input_1"], ops, c["depth"], c["agg"]))
    assert len(keys) == len(computed)
    ordered = [name for name, domain in table.spaces[0].decisions().items() if domain.ordered]
    assert ordered == ["depth"]


def test_edges_of_a_cell_become_edges_of_the_graph():
    pairs = [(0, 1), (0, 2), (1, 2)]
    decisions = [
        {"name": f"op{a}{b}", "kind": "edge_op", "source": str(a), "target": str(b), "values": ["none", "conv"]}
        for a, b in pairs
    ]
    space, _ = space_of(decisions)
    architecture = space.architecture({"op01": "conv", "op02": "none", "op12": "conv"})
    ops = [node.op for node in architecture.nodes]
    found = {(ops[s], ops[t]) for s, t, _ in architecture.edges}
    assert sorted(ops) == ["conv", "conv", "input", "none", "output"]
    assert found == {("input", "conv"), ("conv", "conv"), ("conv", "output"), ("input", "none"), ("none", "output")}


def test_whatever_is_proposed_was_measured(path):
    space = load(path).spaces[0]
    rng = np.random.default_rng(0)
    a, b = space.sample(rng), space.sample(rng)
    proposed = [space.default(), space.adapt({"depth": 5}), space.cross_over(a, b, rng)]
    proposed += [space.mutate(a, rng, edits) for edits in (1, 2, 3) for _ in range(20)]
    assert all(space.contains(c) for c in proposed)


def test_the_past_is_of_other_families_and_holds_what_was_measured(path):
    table = load(path)
    with MetaDataset.open(":memory:") as store:
        past = {name: past_of(replace(Protocol(table, table, records=20), **changes), 2, 0, store)
                for name, changes in {"plain": {}, "negated": {"corrupt": "negate"}, "shuffled": {"corrupt": "shuffle"},
                                      "one": {"history_tasks": 1}, "junk": {"junk": 2}}.items()}  # fmt: skip
        again = past_of(Protocol(table, table, records=20), 2, 0, store)
    assert {p.info.name for p in past["plain"]} == {"a", "b"}
    assert past["plain"] == again
    for plain in past["plain"]:
        task = "abc".index(plain.info.name)
        truth = {identity(c): v for c, v in zip(table.choices, table.val[:, task], strict=True)}
        assert all(truth[identity(r.choices)] == r.score for r in plain.records)
        assert len({identity(r.choices) for r in plain.records}) == 20
    plain, negated, shuffled = ([r.score for r in past[n][0].records] for n in ("plain", "negated", "shuffled"))
    assert negated == [-s for s in plain]
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)
    assert len(past["one"]) == 1
    assert len(past["junk"]) == 4


def test_figures_are_those_of_the_definition_and_an_interrupted_run_goes_on(path, tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from nas.controllers import Explanation\n"
        "class InOrder:\n"
        "    def __init__(self, problem):\n"
        "        assert not problem.metafeatures\n"
        "        self.rest = list(problem.space.enumerate())\n"
        "    def ask(self, count=1):\n        return self.rest[:count]\n"
        "    def tell(self, records):\n        self.rest = self.rest[len(records):]\n"
        "    def explain(self):\n        return Explanation()\n"
    )
    out = tmp_path / "out.json"
    arguments = ["--table", str(path), "--controllers", f"random,{mine}:InOrder", "--seeds", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["transfer", *arguments, "--evaluations", "10"])
    main()
    first = json.loads(out.read_text())
    kept = out.with_suffix(".runs.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:-1]) + lines[-1][:20])
    main()
    second = json.loads(out.read_text())
    assert kept.read_text().count('"rows"') == len(lines)
    val = np.load(path)["val"].astype(float)
    regrets = []
    for column in val.T:
        known = column[np.isfinite(column)]
        best, median = known.max(), np.median(known)
        regrets.append((best - np.maximum.accumulate(known[:10])) / (best - median))
    for result in (first, second):
        figures = result["controllers"]["InOrder"]
        assert figures["regret"]["3"] == pytest.approx(np.mean([r[2] for r in regrets]))
        assert figures["auc50"] == pytest.approx(np.mean(regrets))
        assert figures["test_regret"]["10"] == pytest.approx(figures["regret"]["10"])
        assert figures["spread"] == pytest.approx(0.0)
        assert result["controllers"]["random"]["regret"] == first["controllers"]["random"]["regret"]
    assert "InOrder" in capsys.readouterr().out


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(SearchError, match="did you mean 'random'"):
        factory("randm")
    (tmp_path / "no.npz").write_text("no table")
    with pytest.raises(DataError, match="schema"):
        load(Path(tmp_path / "no.npz"))
    with pytest.raises(DataError, match="kinds"):
        space_of([{"name": "a", "kind": "colour", "values": [1]}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decisions": "no JSON"}, "JSON text"),
        ({"decisions": "[]"}, "at least one"),
        ({"decisions": "[3, 3, 3, 3, 3]"}, "kinds"),
        ({"arch": np.full((120, 5), 9)}, "indices"),
        ({"arch": np.zeros((120, 5))}, "indices"),
        ({"arch": np.zeros((120, 4), int)}, "p = 5"),
        ({"val": np.full((120, 3), np.inf)}, "NaN where"),
        ({"val": np.full((120, 3), "a")}, "NaN where"),
        ({"test": np.zeros((120, 2))}, "shape of val"),
        ({"tasks": np.array(["a"])}, "T = 1"),
    ],
)
def test_a_bad_table_is_one_sentence(path, tmp_path, changes, message):
    content = dict(np.load(path))
    n = len(content["arch"])
    changes = {k: v[:n] if isinstance(v, np.ndarray) and v.ndim == 2 else v for k, v in changes.items()}
    np.savez(tmp_path / "bad.npz", **(content | changes))
    with pytest.raises(DataError, match=message):
        load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--history-tasks", "-1"], "--history-tasks must be at least 0"),
        (["--controllers", "randm"], "did you mean 'random'"),
        (["--controllers", f"{__file__}:Nobody"], "must define Nobody"),
        (["--history-table", "nowhere.npz"], "nowhere.npz"),
        (["--out", "out.txt"], "must be a .json"),
    ],
)
def test_a_bad_option_is_one_sentence(path, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["transfer", "--table", str(path), "--out", str(tmp_path / "out.json"), *words])
    with pytest.raises(SystemExit, match=message):
        main()


def test_slow_controllers_run_fewer_seeds_and_pairs_are_of_common_ones(path, tmp_path):
    table = load(path)
    protocol = Protocol(table, table, evaluations=2, seeds=SLOW_SEEDS + 1)

    class Slow(RandomController):
        def ask(self, count=1):
            until = time.process_time() + 1.2 * SLOW_MS / 1e3
            while time.process_time() < until:
                pass
            return super().ask(count)

    runs = measure(protocol, {"slow": Slow, "random": factory("random")}, tmp_path / "runs.jsonl")
    assert {name: len({seed for _, seed in found}) for name, found in runs.items()} == {"slow": 5, "random": 6}
    result = summary(table, [0, 1, 2], runs, ("random", "slow"))
    assert result["pairs"]["random"]["seeds"] == 5
    assert result["pairs"]["random"]["gain_auc50"]["mean"] == 0.0, "the same draws on the same seeds"


def test_goals_are_what_others_have_at_the_end(path):
    """The second runs into the first's mean regret at a known evaluation."""
    table = load(path)
    order = np.argsort(table.val[:, 0])  # worst first
    late = {(0, 0): Run([int(r) for r in order[-3:]], [1.0] * 3)}
    soon = {(0, 0): Run([int(r) for r in order[::-1][:3]], [1.0] * 3)}
    never = {(0, 0): Run([int(r) for r in order[:3]], [1.0] * 3)}
    runs = {"tpe": late, "random": soon, "meta": soon, "portfolio": never}
    result = summary(table, [0], runs, ("tpe", "random"))
    reached = {name: c["evaluations_to"] for name, c in result["controllers"].items()}
    assert reached["tpe"]["TPE at 100"] == {"median": 3.0, "censored": 0.0}
    assert reached["meta"]["TPE at 100"]["median"] == reached["meta"]["best without history at 100"]["median"] == 1.0
    assert reached["portfolio"]["TPE at 100"] == {"median": None, "censored": 1.0}
    assert result["controllers"]["meta"]["auc50_interval"]["low"] is None


def test_results_are_put_together(path, tmp_path, monkeypatch, capsys):
    """Random against itself: every share is 1; a result with another past is compared to the cold process there."""
    files = []
    for words in ([], ["--corrupt", "shuffle"], ["--junk", "2"]):
        files.append(str(tmp_path / f"{len(files)}.json"))
        arguments = ["--table", str(path), "--controllers", "random,cold_gp,tpe", "--seeds", "2", "--evaluations", "6"]
        monkeypatch.setattr(sys, "argv", ["transfer", *arguments, *words, "--out", files[-1]])
        main()
    results = [json.loads(Path(file).read_text()) for file in files]
    found = together(results)
    random, cold, tpe = (results[0]["controllers"][name] for name in ("random", "cold_gp", "tpe"))
    assert results[0]["rows"] == len(load(path).val)
    (table,) = found["tables"].values()
    assert table["share_of_best_other"] == pytest.approx(random["auc50"] / min(cold["auc50"], tpe["auc50"]))
    assert found["against"]["cold_gp"]["gain_auc50c"]["mean"] == pytest.approx(
        np.mean([cold["per_task"][t]["auc50c"] - random["per_task"][t]["auc50c"] for t in ("a", "b")]) / 2
        + (cold["per_task"]["c"]["auc50c"] - random["per_task"]["c"]["auc50c"]) / 2
    )
    assert found["evaluations_to"] == {}, "a small table does not count"
    with pytest.raises(DataError, match="counts once, but 2 results"):
        together([results[0], *results])
    large = together([{**results[0], "rows": 1000}])
    assert large["evaluations_to"]["TPE at 100"] == random["evaluations_to"]["TPE at 100"]["median"]
    shuffled, junk = found["other_pasts"]
    assert shuffled["share_of_cold_gp"] == pytest.approx(random["auc50c"] / cold["auc50c"]), "neither knows a past"
    assert (junk["past"], junk["share_of_without_junk"]) == ("2 junk", pytest.approx(1.0))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["together", *files, "--out", str(tmp_path / "all.json")])
    together_main()
    assert "1.00 of without" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["result"] == json.loads(json.dumps(found))
    monkeypatch.setattr(sys, "argv", ["together", str(path)])
    with pytest.raises(SystemExit, match="cannot be read"):
        together_main()


def test_a_named_controller_is_made_as_in_a_search(path):
    table = load(path)
    controller = factory("random")(Problem(space=table.spaces[0]))
    assert table.spaces[0].contains(controller.ask()[0])


# ---- rivals ----------------------------------------------------------------------------------------------------------


def test_distance_is_the_share_of_decisions_that_differ(path):
    space = load(path).spaces[0]
    known = pool(space)
    D = known.distances(range(12))
    domains = space.decisions()
    for i, j in [(0, 1), (3, 11), (5, 60), (7, 7)]:
        a, b = known.choices[i], known.choices[j]
        apart = [abs(d.unit(a[n]) - d.unit(b[n])) if d.ordered else float(a[n] != b[n]) for n, d in domains.items()]
        assert D[i, j] == pytest.approx(np.mean(apart))


def test_the_rivals_process_is_the_textbooks():
    rng = np.random.default_rng(0)
    X = rng.random((9, 2))
    D = np.abs(X[:, None] - X[None]).sum(axis=2)
    y = standardised(rng.standard_normal(9))
    known, asked = slice(0, 7), slice(7, 9)
    process = Process(D[known, known], y[known])
    K = np.exp(-D / process.length)
    S = np.linalg.inv(K[known, known] + (process.noise + 1e-6) * np.eye(7))
    mean, deviation = process.predict(D[known, asked])
    assert mean == pytest.approx(K[asked, known] @ S @ y[known])
    assert deviation**2 == pytest.approx(1 - np.diag(K[asked, known] @ S @ K[known, asked]))
    left, _ = process.left_out(y[known])
    for i in range(7):
        rest = [j for j in range(7) if j != i]
        T = np.linalg.inv(K[np.ix_(rest, rest)] + (process.noise + 1e-6) * np.eye(6))
        assert left[i] == pytest.approx(K[i, rest] @ T @ y[rest])


def test_ranking_loss_counts_pairs_put_the_other_way_round():
    rng = np.random.default_rng(0)
    y, f = np.array([1.0, 3.0, 2.0, 5.0]), rng.standard_normal((6, 4))
    brute = [sum((s[j] < s[k]) != (y[j] < y[k]) for j in range(4) for k in range(4) if j != k) for s in f]
    assert list(ranking_loss(f, y)) == brute


@pytest.mark.parametrize("name", [n for n in RIVALS if n != "gp"])
def test_rivals_ask_for_new_choices_the_same_each_time_with_and_without_history(name, path):
    table = load(path)
    with MetaDataset.open(":memory:") as store:
        past = past_of(Protocol(table, table, records=20), 2, 0, store)
    for known in (past, ()):
        runs = []
        for _ in range(2):
            run = search(RIVALS[name], Protocol(table, table, evaluations=8), 2, 0, known)
            assert len(set(run.rows)) == 8
            runs.append(run.rows)
        assert runs[0] == runs[1]


def test_local_search_ends_at_choices_without_better_neighbours(path):
    table = load(path)
    run = search(RIVALS["local_search"], Protocol(table, table), 0, 0, ())
    values, D = table.val[:, 0], pool(table.spaces[0]).distances(range(len(table.val))) * len(DECISIONS)
    best = [max(run.rows[:n], key=lambda r: values[r]) for n in range(1, len(run.rows) + 1)]
    finished = [r for r in dict.fromkeys(best) if set(np.flatnonzero(D[r] <= 1 + 1e-9)) <= set(run.rows)]
    assert any(values[r] >= values[D[r] <= 1 + 1e-9].max() for r in finished)
    assert len(run.rows) == len(set(run.rows)) == len(table.val)
