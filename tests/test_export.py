"""Exported files: they predict raw rows like the network, alone in a fresh process, or they do not appear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conformance_export import chain, digits, expected, network, parallel, pictures, table
from torch import nn

from nas.architecture import Architecture
from nas.errors import ExportError
from nas.export import export
from nas.export.check import TOLERANCE, gap_batches, placed, real_batches, verify
from nas.operations import BUILTIN, Operation

TABLE_BRANCHES = (
    ("@numeric", ("periodic_embedding", {"frequencies": 4, "size": 3}), ("linear", {"width": 8}), "mish", "layer_norm"),
    (
        "@quantile",
        ("piecewise_linear", {"bins": 4}),
        ("gated_linear", {"width": 6, "dropout": 0.1}),
        "gelu",
        "batch_norm",
    ),
    ("@categorical", ("category_embedding", {"size": 3}), "feature_scale", "relu", "dropout"),
    ("@missing", "silu"),
    ("@onehot", "selu"),
    ("@x", "tanh", ("dropout", {"p": 0.5})),
    ("@categorical", "flatten", "identity"),
)
IMAGE_BRANCHES = (
    (("conv3x3", {"width": 4}), "batch_norm", "relu", "max_pool2x2", "global_avg_pool"),
    (("conv5x5", {"width": 3, "stride": 2}), "layer_norm", "mish", "flatten"),
    (("conv1x1", {"width": 3}), "feature_scale", "avg_pool3x3", ("max_pool3x3", {"stride": 2}), "gelu"),
    (("separable3x3", {"width": 3, "stride": 2}), ("avg_pool3x3", {"stride": 2}), "max_pool3x3", "dropout"),
    ("relu_conv3x3_bn", ("relu_conv1x1_bn", {"width": 3}), "reduction", "reduction"),
)
IMAGE_SUM = (  # images of different sizes and channels, summed: projections and resizing
    (("conv3x3", {"width": 3}),),
    (("conv3x3", {"width": 5, "stride": 2}), "identity"),
    ("max_pool2x2",),
)


def test_every_operation_is_in_a_test_of_parity():
    steps = [step for branch in TABLE_BRANCHES + IMAGE_BRANCHES + IMAGE_SUM for step in branch]
    names = {step if isinstance(step, str) else step[0] for step in steps}
    assert names >= set(BUILTIN) - {"zero"}  # the normal form has no zeros


@pytest.mark.parametrize(
    ("architecture", "data"),
    [
        (parallel(TABLE_BRANCHES), table()),
        (parallel(IMAGE_BRANCHES), pictures()),
        (parallel(IMAGE_SUM, join="add", meet="conv1x1"), pictures(8, 10, 6)),
    ],
    ids=["table", "image", "image sum"],
)
def test_every_operation_exports_with_parity(architecture, data, tmp_path, capfd):
    predictor = network(architecture, data)
    report = export(predictor, data, tmp_path / "model.onnx")
    assert report.largest_difference <= TOLERANCE
    assert report.rows_checked > len(data)
    assert os.listdir(tmp_path) == ["model.onnx"]  # one file: no external weights, nothing temporary
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 2, 7, len(data)):  # the comparison once more, without the code under test
        raw = {name: array[:rows] for name, array in data.inputs.items()}
        (found,) = session.run(["probabilities"], raw)
        np.testing.assert_allclose(found, expected(predictor, raw), atol=TOLERANCE, rtol=0)


# --- alone in a fresh process -----------------------------------------------------------------------------------------

ALONE = """
import sys
sys.modules["nas"] = sys.modules["torch"] = None  # an import of either fails
import json
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
raw = {end.name: np.load(end.name + ".npy") for end in session.get_inputs()}
metadata = json.loads(session.get_modelmeta().custom_metadata_map["nas"])
np.save("found.npy", session.run(None, raw)[0])
print(json.dumps({"types": {end.name: end.type for end in session.get_inputs()}, "schema": metadata["schema"]}))
"""


@pytest.mark.parametrize(
    ("architecture", "data", "types"),
    [
        (
            parallel((("@x", "linear", "mish"), ("@quantile", ("piecewise_linear", {"bins": 8})))),
            table("regression", categories=0, scale=1e5),
            {"numeric": "tensor(float)"},
        ),
        (
            chain(("category_embedding", {"size": 4}), view="categorical"),
            table(),
            {"numeric": "tensor(float)", "categorical": "tensor(int64)"},
        ),
        (chain(("conv3x3", {"width": 8}), "relu", "max_pool2x2", "flatten"), digits(), {"image": "tensor(uint8)"}),
    ],
    ids=["house prices", "categories", "digits"],
)
def test_file_predicts_raw_rows_in_a_process_without_the_project(architecture, data, types, tmp_path):
    predictor = network(architecture, data)
    export(predictor, data, tmp_path / "model.onnx")
    for name, array in data.inputs.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "alone.py").write_text(ALONE)
    done = subprocess.run([sys.executable, "-I", "alone.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["types"] == types
    assert said["schema"]["classes"] == list(data.classes)
    truth, found = expected(predictor, data.inputs), np.load(tmp_path / "found.npy")
    assert found.dtype == np.float32
    assert np.abs(found - truth).max() <= 1e-4 * max(1.0, np.abs(truth).max())
    if data.task == "regression":
        assert np.abs(truth).max() > 1e4  # dollars, not standard deviations


# --- what else the file is --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Returns (predictor, data, path, report) of a small classifier that was in training mode when exported."""
    data = table(rows=40)
    predictor = network(chain(("linear", {"width": 8}), "relu", "dropout"), data).train()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    report = export(
        predictor, data, path, settings={"learning_rate": np.float64(0.03)}, scores={"brier": -0.2, "auc": float("nan")}
    )
    return predictor, data, path, report


def test_report_says_what_was_written(exported):
    _, _, path, report = exported
    assert (report.path, report.bytes) == (path, path.stat().st_size)
    assert 0 <= report.largest_difference <= TOLERANCE
    assert 0 < report.milliseconds_per_row < 100
    assert str(report).startswith(f"{path} (largest difference ")


def test_export_leaves_the_network_as_it_was(exported):
    assert all(module.training for module in exported[0].modules())


def test_metadata_carry_names_and_provenance_and_no_path_of_this_machine(exported):
    predictor, data, path, _ = exported
    model = onnx.load(path)
    (prop,) = model.metadata_props
    metadata = json.loads(prop.value)
    assert prop.key == "nas"
    assert metadata["schema"] == json.loads(json.dumps(data.schema()))
    assert Architecture.from_dict(metadata["architecture"]) == predictor.network.architecture
    assert metadata["settings"] == {"learning_rate": 0.03}
    assert metadata["scores"] == {"brier": -0.2, "auc": None}
    assert str(Path(__file__).parents[1]).encode() not in path.read_bytes()
    assert sys.prefix.encode() not in path.read_bytes()
    assert [end.type.tensor_type.shape.dim[0].dim_param for end in (*model.graph.input, *model.graph.output)] == [
        "batch"
    ] * 3


@pytest.mark.parametrize("case", ["a constant", "one row"])
def test_odd_networks_export(case, tmp_path):
    if case == "a constant":  # no input reaches the output
        graph = nx.DiGraph()
        graph.add_node("out", op="output")
        architecture, data = Architecture.from_graph(graph), table("regression", numbers=0, categories=1)
    else:
        architecture, data = chain("tanh"), table(categories=0).subset(np.array([4]))
    report = export(network(architecture, data), data, tmp_path / "model.onnx")
    assert report.largest_difference <= TOLERANCE
    assert report.rows_checked > 256


# --- what does not become a file --------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


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
        (Noisy, "must agree with the network within 1.0e-04"),
        (Branching, "free batch size"),
        (Inverse, "ONNX form"),
    ],
)
def test_a_network_that_does_not_agree_leaves_no_file(module, reason, tmp_path, capfd):
    data = table(rows=30)
    operation = Operation("odd", 1, lambda shape: module(), lambda shape: shape)
    predictor = network(chain("odd"), data, {**BUILTIN, "odd": operation})
    with pytest.raises(ExportError, match=reason) as caught:
        export(predictor, data, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_failed_export_keeps_the_older_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")

    def fail():
        with placed(path) as temporary:
            temporary.write_bytes(b"newer")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize("name", ["model.onx", "model", "model.pkl"])
def test_unknown_suffix_names_those_that_exist(name, tmp_path):
    with pytest.raises(ExportError, match=r"\.onnx, \.json"):
        export(None, None, tmp_path / name)


def test_missing_folder_is_one_sentence(exported, tmp_path):
    predictor, data, _, _ = exported
    with pytest.raises(ExportError, match="folder that exists"):
        export(predictor, data, tmp_path / "none" / "architecture.json")


def test_json_holds_the_architecture(exported, tmp_path):
    predictor, data, _, _ = exported
    report = export(predictor, data, tmp_path / "architecture.json")
    text = report.path.read_text()
    assert Architecture.from_json(text) == predictor.network.architecture
    assert (report.bytes, report.largest_difference, report.milliseconds_per_row) == (len(text.encode()), None, None)
    assert str(report) == str(tmp_path / "architecture.json")


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
    def truth(raw):
        return np.nan_to_num(raw["numeric"][:, 0] / 100)

    with pytest.raises(ExportError, match=reason):
        verify(lambda raw: change(truth(raw)), truth, table())
    with pytest.raises(ExportError, match="finite numbers"):
        verify(truth, lambda raw: truth(raw) + np.inf, table())


def test_large_targets_may_differ_in_proportion():
    def truth(raw):
        return 1e5 * np.tanh(np.nan_to_num(raw["numeric"][:, 0]))

    difference, rows = verify(lambda raw: truth(raw) + 1.0, truth, table())
    assert difference == pytest.approx(1.0)
    assert rows == 1 + 2 + 7 + 256 + 10


# --- the rows it is checked on ----------------------------------------------------------------------------------------


def test_checked_rows_are_real_and_cover_small_and_large_batches():
    data = table(rows=700)
    batches = real_batches(data)
    assert [len(batch["numeric"]) for batch in batches[:4]] == [1, 2, 7, 256]
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
