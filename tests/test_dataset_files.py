"""Tables in files: dialects and encodings of texts, faults people meet, files too large to be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messy import error_of, frame

from nas.dataset import encode_rows, load
from nas.errors import DataError

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_csv_parquet_and_frame_agree(tmp_path):
    f = frame()
    f.to_csv(tmp_path / "t.csv", index=False)
    f.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "u.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    one = load(f.assign(size=f["size"].astype(str)), target="label")
    for name in ("t.csv", "u.csv.gz"):
        data = load(tmp_path / name, target="label")
        assert data.features == one.features
        assert np.allclose(data.inputs["numeric"], one.inputs["numeric"], equal_nan=True)
        assert np.array_equal(data.inputs["categorical"], one.inputs["categorical"])
        encoded = encode_rows(tmp_path / name, data.schema())
        np.testing.assert_array_equal(encoded["numeric"], data.inputs["numeric"])
    assert load(tmp_path / "t.parquet", target="label").fingerprint == load(f, target="label").fingerprint
    assert load(str(tmp_path / "t.csv"), target="label").name == "t"


def test_csv_dialects(tmp_path):
    path = tmp_path / "t.csv"
    expected = np.array([[1.5, 2], [-2.25, np.nan], [3.5, 4]], np.float32)
    for text in (
        "a,b,y\n1.5,2,u\n-2.25,?,v\n3.5,4,u\n",
        "\ufeffa;b;y\r\n1,5;2;u\r\n-2,25;;v\r\n3,5;4;u\r\n",
        '"a"\t"b"\t"y"\n1.5\t2\t"u"\n-2.25\tNA\t"v"\n3.5\t4\t"u"\n\n',
        "a, b, y\n1.5, 2, u\n-2.25, -, v\n3.5, 4, u",
    ):
        path.write_text(text, encoding="utf-8")
        data = load(path, target="y")
        assert data.classes == ("u", "v")
        np.testing.assert_array_equal(data.inputs["numeric"], expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a,y\n", "two rows"),
        (b"a,y\n1,0\n", "two rows"),
        (b"a,y\n1,0\n2,1,5\n3,0\n", "line 3 of t.csv has 3"),
        (b"a,b,y\n1,2,0\n2,1\n3,4,0\n", "line 3 of t.csv has 2"),
        (b"a,y\n1,caf\xe9\x81\n2,b\n", "byte 0xe9"),
        (b"a,y\n1,\x002\n2,b\n", "byte 6 is 0"),
        ("a,y\n1,2\n".encode("utf-16-le"), "is 0, as in binary files or in UTF-16"),
        (b"5.1,3.5,0\n4.9,3.0,0\n4.7,3.2,1\n", "add a line of names"),
        (b"a:y\n1:0\n2:1\n", "read as one column"),
        (b'a,y\n1,"' + b"x" * 200_000 + b'"\n', "at most 131,072 characters"),
        (b"a,a,y\n1,2,0\n2,3,1\n", "'a' twice"),
        (b"a,Y\n1,0\n2,1\n", "did you mean 'Y'"),
        (b'a,y\n"1,0\n2,1\n', "line"),
    ],
)
def test_csv_faults(tmp_path, content, words):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert words in error_of(path, target="y")


def test_what_is_guessed_of_a_text_is_said(tmp_path):
    path = tmp_path / "t.csv"
    text = "größe;Straße;wann;y\n1,5;Königsallee;01.02.2024;0\n2,25;Ring;11.02.2024;1\n" + "3,5;Ring;12.03.2024;1\n" * 4
    for encoding, words in (
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("cp1252", "t.csv is not UTF-8 (byte 0xf6 at about 2): read as Windows-1252"),
        ("utf-16", "t.csv is read as UTF-16"),
        ("utf-32", "t.csv is read as UTF-32"),
    ):
        path.write_bytes(text.encode(encoding))
        data = load(path, target="y")
        assert data.features == {
            "numeric": ("größe", "wann.month", "wann.weekday", "wann.days"),
            "categorical": ("Straße",),
        }
        np.testing.assert_array_equal(data.inputs["numeric"][:3, 0], np.array([1.5, 2.25, 3.5], np.float32))
        assert data.levels == (("Königsallee", "Ring"),)
        said = "; ".join(data.dropped)
        assert "t.csv is read with cells separated by ';' and a comma as the decimal sign" in said
        assert words in said
        np.testing.assert_array_equal(encode_rows(path, data.schema())["numeric"], data.inputs["numeric"])
    for separator, name in (("\t", "tabs"), ("|", "'|'"), ("  ", "spaces")):
        path.write_text(f"a{separator}y\n" + "".join(f"{i}.5{separator}{i % 2}\n" for i in range(9)))
        data = load(path, target="y")
        assert np.array_equal(data.inputs["numeric"].ravel(), np.arange(9) + 0.5)
        assert f"separated by {name}" in data.dropped[0]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_line_of_gigabytes_ends_in_a_sentence(tmp_path):
    import subprocess
    import sys

    zeros, ones = tmp_path / "zeros.csv", tmp_path / "ones.csv"
    with zeros.open("wb") as stream:
        stream.write(b"a,y\n1,0\n2,")
        stream.truncate(2**31)  # sparse: takes no place
    ones.write_bytes(b"a,y\n1,0\n2," + b"1" * 2**26)
    program = (
        "import re, sys; from pathlib import Path; from nas.dataset import load; from nas.errors import DataError\n"
        "for path, words in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try: load(path, target='y')\n"
        "    except DataError as error: assert words in str(error), error\n"
        "    else: raise SystemExit('read')\n"
        "print(re.search(r'VmHWM:\\s*([0-9]+)', Path('/proc/self/status').read_text())[1])"  # of this process alone
    )
    words = [str(zeros), "is 0, as in binary", str(ones), "line 3 of ones.csv has more"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 2**29


def test_files_that_unpack_to_many_times_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.dataset.text.LARGE", 2**20)
    monkeypatch.setattr("nas.dataset.archive.LARGE", 2**20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"1" * 2**22))
    assert "200 times its size" in error_of(path, target="y")
    np.savez_compressed(tmp_path / "t.npz", X=np.zeros((2**20, 1)), y=np.arange(2**20) % 2)
    assert "200 times its size (X.npy)" in error_of(tmp_path / "t.npz")


def test_large_tables_are_refused_before_they_are_read(tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.setattr("nas.dataset.files.MAX_CELLS", 100)
    frame().to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"a": np.zeros(101), "y": 0}).to_parquet(tmp_path / "t.parquet")
    assert "a table may have 100 cells, but t.csv has more" in error_of(tmp_path / "t.csv", target="label")
    assert "t.parquet has 202" in error_of(tmp_path / "t.parquet", target="y")


def test_places_that_are_no_files(tmp_path):
    import os

    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    assert "one subfolder for each class" in error_of(tmp_path / "folder.csv", target="y")
    assert "must be a file" in error_of(tmp_path / "pipe.csv", target="y")
    os.mkfifo(tmp_path / "pipe.npz")
    assert "must be a file" in error_of(tmp_path / "pipe.npz")
    frame().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-100])
    assert "must be a Parquet file" in error_of(tmp_path / "t.parquet", target="label")


def test_many_columns_are_compared_in_one_pass(tmp_path):
    names = ",".join(f"c{i}" for i in range(20_000))
    (tmp_path / "t.csv").write_text(f"{names},c7\n")
    assert "'c7' twice" in error_of(tmp_path / "t.csv", target="y")


def test_unknown_files(tmp_path):
    (tmp_path / "data.csv").write_text("a,y\n1,0\n")
    assert "data.csv" in error_of(tmp_path / "dota.csv", target="y")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    assert "must end in" in error_of(tmp_path / "t.xlsx", target="y")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.npz", "t.parquet", "t.csv.gz"]))
def test_foreign_bytes_end_in_one_sentence(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError):
        load(path, target="y")


@quick
@given(st.text(alphabet='ab,;\t\n"1.0-? é', max_size=60))
def test_any_text_is_a_dataset_or_one_sentence(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,0\n2,1\n3,0\n" + text, encoding="utf-8")
    try:
        data = load(path, target="y")
    except DataError:
        return
    assert len(data) >= 2
