"""Tables by strangers: whatever a file holds, it is a dataset or one sentence; nothing crashes, hangs or runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watching import edited, edits, one_sentence, watch

from nas.dataset import encode_rows, load
from nas.errors import DataError

EXAMPLES = int(os.environ.get("NAS_FUZZ_EXAMPLES", "40"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def sound(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of sound tables by the names of their files."""
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=40),
            "word": rng.choice(["red", "blüe", 'qu"oted, twice'], 40),
            "when": pd.date_range("2024-01-01", periods=40).astype(str),
            "y": rng.integers(0, 2, 40),
        }
    )
    frame.loc[::9, "number"] = np.nan
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_csv(folder / "t.csv.gz", index=False)
    frame.to_csv(folder / "t.tsv", index=False, sep="\t", encoding="utf-16")
    frame.to_parquet(folder / "t.parquet")
    np.savez(folder / "t.npz", X_num=rng.normal(size=(40, 3)), X_cat=rng.integers(0, 4, (40, 2)), y=frame.y.to_numpy())
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in found:  # everything is imported now
        encode_rows(folder / name, load(folder / name, target="y").schema())
    return found


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return sound(tmp_path_factory.mktemp("fuzz"))


def check(named: tuple[str, bytes]) -> None:
    """Reads a table of this name and these bytes and checks what happens."""
    name, content = named
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        message = watch(lambda: read(path))
        assert message is None or one_sentence(message), message
        assert [each.name for each in Path(folder).iterdir()] == [name]


def read(path: Path) -> str | None:
    """Reads a table, and again by its schema; returns the sentence by which it was refused, if it was."""
    try:
        data = load(path, target="y")
        assert len(data) >= 2
        assert one_sentence(data.describe(), 200)
        again = encode_rows(path, data.schema())
        assert all(len(again[key]) >= len(array) for key, array in data.inputs.items())
    except DataError as error:
        return str(error)
    return None


@FUZZ
@given(st.data(), edits)
def test_bytes_of_a_table_changed_at_random(tables, data, changes):
    name = data.draw(st.sampled_from(sorted(tables)))
    check((name, edited(tables[name], changes)))


nasty = (
    """1 -2.5 1e400 1,5 $1,234.50 NA ? é " "" ' 2024-01-01 31.12.1999 True inf 0x10 1_000 =cmd() % ../../etc/passwd"""
)
cells = st.sampled_from(["", "a b", "\x00", "\ufeff", "\u2028", "9" * 400, *nasty.split()]) | st.text(max_size=6)
rows = st.lists(st.lists(cells, min_size=1, max_size=5), max_size=12)


@FUZZ
@given(st.lists(cells, max_size=5), rows, st.sampled_from([",", ";", "\t", "|", " "]), st.sampled_from(["\n", "\r\n"]))
def test_cells_drawn_at_random(header, lines, separator, end):
    width = len(header) + 1
    lines = [(line * width)[:width] if i % 7 else line for i, line in enumerate(lines)]
    text = end.join(separator.join(line) for line in [[*header, "y"], *lines])
    check(("t.csv", text.encode("utf-8", "surrogatepass")))
