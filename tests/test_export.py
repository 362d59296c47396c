"""Exported files: they predict alone, hold what they should, or do not appear."""

from __future__ import annotations

import json
import os
import resource
import signal

import networkx as nx
import numpy as np
import onnx
import pytest
import torch
from conformance_export import (
    IMAGE_BRANCHES,
    IMAGE_SUM,
    SERIES_BRANCHES,
    SERIES_SUM,
    TABLE_BRANCHES,
    ExporterConformance,
    chain,
    exported,
    model,
    network,
    pictures,
    table,
)
from torch import nn

from nas.architecture import Architecture
from nas.errors import ExportError
from nas.export import export
from nas.export.check import TOLERANCE, compare, gap_batches, real_batches
from nas.operations import BUILTIN, Operation
from nas.placed import placed


def test_every_operation_is_in_a_test_of_parity():
    branches = TABLE_BRANCHES + IMAGE_BRANCHES + IMAGE_SUM + SERIES_BRANCHES + SERIES_SUM
    steps = [step for branch in branches for step in branch]
    names = {step if isinstance(step, str) else step[0] for step in steps}
    assert names >= set(BUILTIN) - {"zero", "tanh"}  # the normal form has no zeros; branches meet in a tanh


class TestOnnx(ExporterConformance):
    suffix = ".onnx"
    words = True
    alone = """
sys.modules["torch"] = None
import numpy as np
import onnxruntime

def predictor(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["nas"])
    types = {"tensor(float)": np.float32, "tensor(string)": object, "tensor(uint8)": np.uint8}

    def predict(batch):
        raw = {end.name: np.array(batch[end.name], dtype=types[end.type]) for end in session.get_inputs()}
        *labels, output = session.run(None, raw)
        classes = metadata["schema"]["classes"]
        assert output.dtype == np.float32
        assert not classes or [classes[i] for i in output.argmax(axis=1)] == labels[0].tolist()
        return output.tolist()

    return predict
"""


class TestPt2(ExporterConformance):
    suffix = ".pt2"
    alone = """
import torch

def predictor(path):
    extra = {"nas.json": ""}
    network = torch.export.load(path, extra_files=extra).module()
    types = {"numeric": torch.float32, "categorical": torch.int64, "image": torch.uint8, "series": torch.float32}
    names = json.loads(extra["nas.json"])["inputs"]
    return lambda batch: network(*(torch.tensor(batch[name], dtype=types[name]) for name in names)).tolist()
"""


# --- what else the file is --------------------------------------------------------------------------------------------


def test_metadata_carry_names_and_provenance():
    predictor, data = model("houses")
    (content,) = exported("houses", ".onnx")[0].values()
    file = onnx.load_model_from_string(content)
    (prop,) = file.metadata_props
    metadata = json.loads(prop.value)
    assert prop.key == "nas"
    assert metadata["schema"] == json.loads(json.dumps(data.schema()))
    assert Architecture.from_dict(metadata["architecture"]) == predictor.network.architecture
    assert metadata["settings"] == {"learning_rate": 0.03}
    assert metadata["scores"] == {"brier": -0.2, "auc": None}
    dims = [end.type.tensor_type.shape.dim[0].dim_param for end in (*file.graph.input, *file.graph.output)]
    assert dims == ["batch"] * 3
    assert exported("houses", ".onnx")[1].milliseconds_per_row < 1000


@pytest.mark.parametrize("case", ["a constant", "one row"])
def test_odd_networks_export(case, tmp_path):
    if case == "a constant":  # no input reaches the output
        graph = nx.DiGraph()
        graph.add_node("out", op="output")
        architecture, data = Architecture.from_graph(graph), table("regression", numbers=0, categories=1)
    else:
        architecture, data = chain("tanh"), table(categories=0).subset(np.array([4]))
    suffix = ".onnx" if case == "a constant" else ".pt2"
    report = export(network(architecture, data), data, tmp_path / f"model{suffix}")
    assert report.largest_difference <= TOLERANCE
    assert report.rows_checked > 1000


# --- what does not become a file --------------------------------------------------------------------------------------


class Branching(nn.Module):
    """Computes something else for small batches, which a traced graph cannot keep."""

    def forward(self, x):
        return x if x.shape[0] < 5 else 2 * x


class Inverse(nn.Module):
    def forward(self, x):
        return torch.linalg.pinv(x.unsqueeze(-1) * x.unsqueeze(1))[:, 0]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Branching, "free batch size"),
        (Inverse, "ONNX form"),
    ],
)
def test_a_network_that_does_not_agree_leaves_no_file(module, reason, tmp_path, capfd):
    data = table(rows=30)
    operation = Operation("odd", 1, lambda shape: module(), lambda shape: shape)
    predictor = network(chain("odd"), data, {**BUILTIN, "odd": operation})
    for suffix in (".onnx", ".pt2") if module is Branching else (".onnx",):
        with pytest.raises(ExportError, match=reason) as caught:
            export(predictor, data, tmp_path / f"model{suffix}")
        assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_what_goes_wrong_on_the_way_keeps_the_older_file(fault, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")

    def fail():
        with placed(path) as temporary:
            temporary.write_bytes(b"newer")
            raise fault

    with pytest.raises(fault):
        fail()
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_full_disk_leaves_nothing_and_keeps_the_older_file(tmp_path):
    """The system lets no file grow beyond 64 bytes, as a full disk would not."""
    predictor, data = model("houses")
    path = tmp_path / "model.json"
    path.write_bytes(b"older")
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, kept[1]))
        with pytest.raises(ExportError, match="must be writable, but File too large"):
            export(predictor, data, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["model.json"]


@pytest.mark.parametrize("name", ["model.onx", "model", "model.pkl", "."])
def test_unknown_suffix_names_those_that_exist(name, tmp_path):
    with pytest.raises(ExportError, match=r"\.onnx, \.pt2, \.py, \.json, \.svg"):
        export(None, None, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none/a.json", "folder that exists"), ("folder.json", "is a folder"), ("file/a.json", "folder that exists")],
)
def test_a_place_that_cannot_hold_a_file_is_one_sentence(name, reason, tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    predictor, data = model("houses")
    with pytest.raises(ExportError, match=reason):
        export(predictor, data, tmp_path / name)


def test_json_holds_the_architecture(tmp_path):
    predictor, data = model("houses")
    report = export(predictor, data, tmp_path / "architecture.json")
    text = report.path.read_text()
    assert Architecture.from_json(text) == predictor.network.architecture
    assert (report.bytes, report.largest_difference, report.milliseconds_per_row) == (len(text.encode()), None, None)
    assert str(report) == str(tmp_path / "architecture.json")
    assert export(predictor, data, tmp_path / "architecture.json").bytes == report.bytes  # again: it is replaced


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda truth: truth * np.nan, "agree"),
        (lambda truth: truth + np.float32(2e-4), "agree with the network within 1.0e-04"),
        (lambda truth: truth[:1], "depends on the batch size"),
        (lambda truth: truth[:, None], "must predict the shape"),
    ],
    ids=["NaN", "a little off", "too few rows", "another shape"],
)
def test_predictions_that_differ_are_refused(change, reason):
    truth = np.linspace(-1, 1, 9, dtype=np.float32)
    with pytest.raises(ExportError, match=reason):
        compare([truth, change(truth)], [truth, truth])
    with pytest.raises(ExportError, match="finite numbers"):
        compare([truth], [truth + np.inf])


def test_large_targets_may_differ_in_proportion():
    truth = 1e5 * np.linspace(-1, 1, 9)
    assert compare([truth[:2], truth + 1.0], [truth[:2], truth]) == (pytest.approx(1.0), 11)
    with pytest.raises(ExportError, match=r"within 1\.0e\+01"):
        compare([truth + 11.0], [truth])


# --- the rows it is checked on ----------------------------------------------------------------------------------------


def test_checked_rows_are_real_and_cover_small_and_large_batches():
    data = table(rows=700)
    batches = real_batches(data)
    assert [len(batch["numeric"]) for batch in batches[:4]] == [1, 2, 7, 1000]
    seen = np.concatenate([batch["numeric"] for batch in batches])
    real = {row.tobytes() for row in data.inputs["numeric"]}
    assert {row.tobytes() for row in seen} <= real
    assert len({row.tobytes() for row in seen}) == 512


@pytest.mark.parametrize(("numbers", "categories"), [(6, 3), (0, 2), (150, 0)])
def test_every_column_is_missing_alone_or_with_few_and_all_are_missing_once(numbers, categories):
    data = table(numbers=numbers, categories=categories, rows=8)
    (batch,) = gap_batches(data)
    missing = np.concatenate([np.isnan(batch[n]) if n == "numeric" else batch[n] < 0 for n in data.inputs], axis=1)
    assert missing.any(axis=0).all()
    assert missing[-1].all()
    assert not np.isnan(data.inputs.get("numeric", np.zeros(1))).all()  # the data themselves are untouched


def test_images_have_no_gaps():
    assert gap_batches(pictures()) == []
