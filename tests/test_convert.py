"""Published formats as tables: every score lands at its architecture, and a bad file is one sentence."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.convert import EDGES, OPERATIONS, main
from benchmarks.table import load


def convert(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", *map(str, words)])
    main()


def test_scores_of_naslib_land_at_their_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(product(range(4), repeat=6))[::97]
    content = {
        task: {str(arch): {"val_accuracy": sum(arch) * scale, "synflow": {"score": 1.0}} for arch in every[skip:]}
        for task, scale, skip in (("a", 1.0, 0), ("b", -2.0, 1))
    }
    (tmp_path / "zc.json").write_text(json.dumps(content))
    out = tmp_path / "table.npz"
    convert(
        monkeypatch, "naslib", tmp_path / "zc.json", "--space", "transbench101_micro", "--out", out, "--families", "b=a"
    )
    table = load(out)
    ops = OPERATIONS["transbench101_micro"]
    assert {i.family for i in table.infos} == {"a"}
    for choices, values in zip(table.choices, table.val, strict=True):
        arch = [ops.index(choices[f"op_{a}_{b}"]) for a, b in EDGES]
        assert values[0] == sum(arch)
        assert np.isnan(values[1]) if tuple(arch) == every[0] else values[1] == -2 * sum(arch)


def test_latencies_of_help_become_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    texts = ["|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|",
             "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]  # fmt: skip
    (tmp_path / "latency").mkdir()
    torch.save({text: i for i, text in enumerate(texts)}, tmp_path / "str_arch2idx.pt")
    torch.save([5.0, 1.5], tmp_path / "latency" / "phone.pt")
    convert(monkeypatch, "latency", tmp_path, "--out", tmp_path / "t.npz")
    table = load(tmp_path / "t.npz")
    found = {tuple(c[f"op_{a}_{b}"] for a, b in EDGES): v for c, (v,) in zip(table.choices, table.val, strict=True)}
    first = ("nor_conv_3x3", "none", "avg_pool_3x3", "skip_connect", "none", "nor_conv_1x1")
    assert found == {first: -5.0, ("none",) * 6: -1.5}


def test_rows_of_a_csv_are_averaged_and_numbers_are_ordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs.csv").write_text("data,depth,agg,acc\nx,8,add,1\nx,8,add,3\nx,10,max,5\ny,10,max,7\n")
    words = ("csv", tmp_path / "runs.csv", "--decisions", "depth,agg", "--task", "data", "--score", "acc")
    convert(monkeypatch, *words, "--out", tmp_path / "t.npz")
    table = load(tmp_path / "t.npz")
    domains = table.spaces[0].decisions()
    assert domains["depth"].values == (8, 10)
    assert (domains["depth"].ordered, domains["agg"].ordered) == (True, False)
    assert table.val[0] == pytest.approx([2.0, np.nan], nan_ok=True)
    assert table.val[1] == pytest.approx([5.0, 7.0])


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ('{"a": [1]}', ("naslib", "FILE", "--space", "nasbench201"), "NASLib's scores are"),
        ("a,b\n1,2\n", ("csv", "FILE", "--decisions", "a", "--task", "t", "--score", "b"), "a .csv has a column"),
        ("t,a,b\n", ("csv", "FILE", "--decisions", "a", "--task", "t", "--score", "b"), "there are none"),
        ("", ("latency", "FILE"), "a folder of HELP"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "given"
    file.write_text(content)
    with pytest.raises(SystemExit, match=message):
        convert(monkeypatch, *(file if w == "FILE" else w for w in words), "--out", tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()
