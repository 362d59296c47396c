"""The command line as a person meets it: what it prints, what it leaves behind, what it says of mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def houses(tmp_path) -> Path:
    """A table with numbers, missing values and categories, and a price in dollars."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "rooms": rng.integers(1, 9, 120).astype(float),
            "area": rng.normal(100, 20, 120),
            "town": rng.choice(["Aachen", "Bath", "Cork"], 120),
        }
    )
    frame["price"] = 50_000 * frame.rooms + 1_000 * frame.area + 20_000 * (frame.town == "Bath")
    frame.loc[::7, "area"] = np.nan
    frame.to_csv(tmp_path / "houses.csv", index=False)
    return tmp_path / "houses.csv"


def test_from_a_csv_to_predictions_of_new_rows(houses, tmp_path, capfd):
    model, new, out = tmp_path / "model.onnx", tmp_path / "new.csv", tmp_path / "predictions.csv"
    assert main(["search", str(houses), "--target", "price", "--trials", "2", "--export", str(model)]) == 0
    printed = capfd.readouterr().out
    for words in (
        "houses: 120 rows x 2 numbers + 1 category, regression",
        "96 rows to search on, 24 set aside",
        "listening to",
        "first guess",
        "boosted trees",
        "linear",
        "no search",
        "found minus this",
        "a network that never saw them",
        "largest difference",
        "remembered 2 trials and 2 confirmations",
        "about",
        "found: trial",
        f"next: nas predict {model} new.csv",
    ):
        assert words in printed, words
    frame = pd.read_csv(houses).drop(columns="price")
    frame.loc[0, "town"] = "Delft"  # a level that training has not seen
    frame.to_csv(new, index=False)
    assert main(["predict", str(model), str(new), "--out", str(out)]) == 0
    predicted = pd.read_csv(out)
    assert len(predicted) == 120
    assert predicted["prediction"].between(-1e6, 2e6).all()
    assert predicted["prediction"].corr(pd.read_csv(houses)["price"]) > 0.5


def test_the_history_lists_and_shows_what_was_searched(houses, capsys, tmp_path):
    place = ["--history", str(tmp_path / "team.db")]
    assert main(["search", str(houses), "--target", "price", "--trials", "2", "--no-compare", "--json", *place]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert "training the best again" in printed.err  # what is for a person goes elsewhere
    assert (told["trials"], told["comparison"], told["saved"]) == (2, None, None)
    assert set(told["test"]) == {"r2", "rmse", "nrmse", "mae"}
    assert told["confirmed"]["purpose"] == "confirm"
    assert main(["history", "list", "--json", *place]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["dataset"], row["search"]) == ("houses", told["search"])
    assert row["finished"]
    assert row["records"] == 4  # two trials, both confirmed
    assert main(["history", "show", row["search"][:10], *place]) == 0
    shown = capsys.readouterr().out
    trials, finalists = shown.split("finalists on fresh splits")
    assert trials.count("learning rate") == 2
    assert finalists.count("learning rate") == 2
    assert main(["history", "show", "nothing", *place]) == 2
    assert "`nas history list` shows them" in capsys.readouterr().err


def test_what_is_unknown_is_null_in_json(tmp_path, capsys):
    """One group to validate on says nothing of the error; JSON has no word for NaN."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "group": np.arange(60) // 6})
    frame["y"] = np.where(frame.a > 0, "up", "down")
    frame[:48].to_csv(tmp_path / "train.csv", index=False)
    frame[48:54].to_csv(tmp_path / "validation.csv", index=False)
    words = ["search", str(tmp_path / "train.csv"), "--target", "y", "--groups", "group", "--controller", "random"]
    words += ["--validation", str(tmp_path / "validation.csv"), "--trials", "1", "--history", "none", "--json"]
    assert main(words) == 0

    def refuse(word: str) -> None:
        raise AssertionError(word)

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert {row["error"] for row in told["comparison"]["contenders"]} == {None}


def test_suggestions_are_contained_in_the_space(houses, capsys):
    assert main(["suggest", str(houses), "--target", "price", "-k", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3
    from nas.architecture import Architecture

    assert all("learning_rate" in row["settings"] and Architecture.from_dict(row["architecture"]) for row in rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["search", "{houses}", "--target", "prise"], "did you mean 'price'"),
        (["search", "digitz"], "did you mean 'digits'"),
        (["search", "{houses}", "--target", "price", "--trials", "0"], "trials >= 1"),
        (["search", "{houses}", "--target", "price", "--controller", "metta"], "did you mean 'meta'"),
        (["search", "{houses}", "--target", "price", "--seconds", "-1"], "seconds > 0"),
        (["search", "{houses}", "--target", "price", "--device", "gpu"], "did you mean 'cuda'"),
        (["search", "{houses}", "--target", "price", "--device", "cp"], "did you mean 'cpu'"),
        (["search", "{houses}", "--target", "price", "--metric", "r22"], "did you mean 'r2'"),
        (["search", "{houses}", "--target", "price", "--task", "regresion"], "did you mean 'regression'"),
        (["search", "{houses}", "--target", "price", "--max-size", "200kg"], "units b, kb"),
        (["search", "{houses}", "--target", "price", "--groups", "twon"], "did you mean 'town'"),
        (["search", "digits", "--task", "clasification"], "did you mean 'classification'"),
        (["search", "iris", "--target", "species"], "leave target= out"),
        (["search", "{houses}", "--target", "price", "--export", "model.onx"], ".onnx"),
        (["search", "{houses}", "--target", "price", "--history", "{houses}"], "history"),
        (["predict", "{houses}", "{houses}"], "onnx"),
        (["history", "list", "--history", "{nowhere}"], "no history at"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(words, sentence, houses, tmp_path, capsys):
    words = [word.format(houses=houses, nowhere=tmp_path / "nowhere.db") for word in words]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence.lower() in error.lower()
    assert error.startswith("nas: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["serch", "digits"], "did you mean 'search'? `nas --help`"),
        (["history", "lst"], "did you mean 'list'? `nas history --help`"),
        (["search", "digits", "--trails", "3"], "'--trails' is not known here; did you mean '--trials'?"),
        (["search", "digits", "--trails=3"], "did you mean '--trials'?"),
        (["search", "digits", "--trials", "many"], "--trials: invalid int value: 'many'; `nas search --help`"),
        (["search"], "required: data"),
        ([], "required: command"),
    ],
)
def test_words_the_command_line_does_not_know(words, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert sentence in error
    assert error.startswith("nas: ")
    assert error.count("\n") == 1


def test_a_closed_pipe_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "history", "list"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, error
    assert not error
