"""Exported files on new rows: a table of predictions by name, and no trust in the file."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest
from conformance_export import chain, expected, network, pictures
from onnx import TensorProto, helper

from nas.cli import main
from nas.dataset import load
from nas.errors import DataError, ExportError
from nas.export import export
from nas.prediction import FORMAT_VERSION, open_model, predict_file


def people(rows=60, seed=0):
    """Returns a frame with gaps, categories, a date, and the target "income"."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "town": rng.choice(["Ulm", "Köln", "Bonn, West"], rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D"),
            "height": rng.normal(170, 9, rows).round(),
        }
    )
    frame["income"] = np.where(frame.age + rng.normal(0, 5, rows) > 40, "high", "low")
    frame.loc[::7, "age"] = np.nan
    frame.loc[::5, "town"] = None
    return frame


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Returns (predictor, path) of a network for ``people``."""
    data = load(people(), target="income")
    predictor = network(chain(("linear", {"width": 8}), "relu"), data)
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    export(predictor, data, path)
    return predictor, data, path


# --- predictions ------------------------------------------------------------------------------------------------------


def test_table_gives_classes_and_probabilities_by_name(classifier, tmp_path):
    predictor, data, model = classifier
    people().drop(columns="income")[["height", "since", "town", "age"]].assign(extra=1).to_csv(
        tmp_path / "new.csv", index=False
    )
    frame = predict_file(model, tmp_path / "new.csv", tmp_path / "out.csv")
    truth = expected(predictor, data.inputs)
    assert list(frame) == ["prediction", "probability_high", "probability_low"]
    assert list(frame.prediction) == [data.classes[code] for code in truth.argmax(axis=1)]
    np.testing.assert_allclose(frame.iloc[:, 1:], truth, atol=1e-5)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), frame, check_dtype=False, rtol=1e-4)
    assert predict_file(model, tmp_path / "new.csv", tmp_path / "out.csv").equals(frame)  # again: it is replaced
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.csv", "out.csv"]


def test_the_command_prints_csv_or_json_and_answers_mistakes_in_one_sentence(classifier, tmp_path, capsys):
    data, model = tmp_path / "new.parquet", str(classifier[2])
    people().to_parquet(data)
    truth = predict_file(model, data)
    assert main(["predict", model, str(data)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(capsys.readouterr().out)), truth, check_dtype=False)
    assert main(["predict", model, str(data), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    pd.testing.assert_frame_equal(pd.DataFrame(rows), truth, check_dtype=False)
    out = str(tmp_path / "out.json")
    assert main(["predict", model, str(data), "--json", "--out", out]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 60, "file": out}
    assert json.loads((tmp_path / "out.json").read_text()) == rows
    assert main(["predict", model, str(tmp_path / "none.csv"), "--json"]) == 2
    error = capsys.readouterr()
    assert error.out == ""
    assert error.err.startswith("nas: ")
    assert error.err.count("\n") == 1


def test_order_number_and_company_of_rows_do_not_matter(classifier, tmp_path):
    model = classifier[2]
    people(3000, seed=4).to_parquet(tmp_path / "all.parquet")  # more than one batch
    people(3000, seed=4).iloc[[2999, 5]].to_csv(tmp_path / "two.csv", index=False)
    both = predict_file(model, tmp_path / "all.parquet").iloc[[2999, 5]].reset_index(drop=True)
    pd.testing.assert_frame_equal(predict_file(model, tmp_path / "two.csv"), both, rtol=1e-4)


def test_unknown_and_missing_categories_are_alike(classifier, tmp_path):
    model = classifier[2]
    people(2).assign(town=["Atlantis", None], age=1.0, height=1.0, since="2021-01-01").to_csv(
        tmp_path / "new.csv", index=False
    )
    frame = predict_file(model, tmp_path / "new.csv")
    assert frame.iloc[0].equals(frame.iloc[1])


def test_values_the_network_does_not_know_are_said(classifier, tmp_path, capsys):
    new = people(5).assign(town=["Atlantis", None, "Ulm", "Rome", ""], height=["tall", 170, "inf", "", 180])
    new.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(classifier[2]), str(tmp_path / "new.csv"), "--json"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 5
    assert said.err.splitlines() == [
        "note: 2 of 5 values of 'town' were never seen in training (such as 'Atlantis') and count as missing",
        "note: 2 of 5 values of 'height' are no finite numbers (such as 'tall') and count as missing",
    ]
    people().to_csv(tmp_path / "known.csv", index=False)
    assert main(["predict", str(classifier[2]), str(tmp_path / "known.csv")]) == 0
    assert capsys.readouterr().err == ""


def test_no_rows_give_no_predictions(classifier, tmp_path):
    people().iloc[:0].to_parquet(tmp_path / "none.parquet")
    frame = predict_file(classifier[2], tmp_path / "none.parquet")
    assert list(frame) == ["prediction", "probability_high", "probability_low"]
    assert len(frame) == 0


def test_missing_column_is_named(classifier, tmp_path):
    people().rename(columns={"age": "Age"}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=r"'age'.*did you mean 'Age'"):
        predict_file(classifier[2], tmp_path / "new.csv")


def test_regression_gives_values_in_the_units_of_the_target(tmp_path):
    frame = people().assign(price=lambda f: 1e5 * f.height)
    data = load(frame, target="price")
    predictor = network(chain("tanh"), data)
    export(predictor, data, tmp_path / "model.onnx")
    frame.to_csv(tmp_path / "new.csv", index=False)
    found = predict_file(tmp_path / "model.onnx", tmp_path / "new.csv", tmp_path / "out.parquet")
    assert list(found) == ["prediction"]
    np.testing.assert_allclose(found.prediction, expected(predictor, data.inputs), rtol=1e-5)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), found)


def test_images_from_a_folder_or_an_archive(tmp_path):
    from PIL import Image

    data = pictures(rows=6, channels=3)
    predictor = network(chain(("conv3x3", {"width": 4}), "relu"), data)
    export(predictor, data, tmp_path / "model.onnx")
    (tmp_path / "new").mkdir()
    for number, image in enumerate(data.inputs["image"]):
        Image.fromarray(image).save(tmp_path / "new" / f"{number}.png")
    np.savez(tmp_path / "new.npz", X=data.inputs["image"], y=data.y)
    truth = expected(predictor, data.inputs)
    frame = predict_file(tmp_path / "model.onnx", tmp_path / "new")
    assert list(frame.file) == [f"{number}.png" for number in range(6)]
    np.testing.assert_allclose(frame[["probability_a", "probability_b", "probability_c"]], truth, atol=1e-5)
    np.testing.assert_allclose(
        predict_file(tmp_path / "model.onnx", tmp_path / "new.npz").iloc[:, 1:], truth, atol=1e-5
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has none"):
        predict_file(tmp_path / "model.onnx", tmp_path / "empty")


def test_prediction_loads_no_torch(classifier, tmp_path):
    people().to_csv(tmp_path / "new.csv", index=False)
    code = (
        "import sys; from nas.prediction import predict_file; "
        f"print(len(predict_file({str(classifier[2])!r}, {str(tmp_path / 'new.csv')!r}))); "
        "assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "60\n"), done.stderr


@pytest.mark.parametrize("out", ["new.csv", "model.onnx", "out.xlsx", "none/out.csv", "folder.csv"])
def test_predictions_go_to_a_new_table_only(out, classifier, tmp_path):
    people().to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "model.onnx").write_bytes(classifier[2].read_bytes())
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ExportError, match=r"predictions|folder"):
        predict_file(tmp_path / "model.onnx", tmp_path / "new.csv", tmp_path / out)
    assert len(pd.read_csv(tmp_path / "new.csv")) == 60


# --- files that deserve no trust --------------------------------------------------------------------------------------


def metadata_of(model):
    return json.loads(model.metadata_props[0].value)


def with_metadata(change):
    """Returns a spoiler of a model file that changes its metadata, a dict, in place or returns the new text."""

    def spoil(content, folder):
        model = onnx.load_model_from_string(content)
        metadata = metadata_of(model)
        text = change(metadata)
        model.metadata_props[0].value = text if isinstance(text, str) else json.dumps(metadata)
        return model.SerializeToString()

    return spoil


def with_schema(**changes):
    return with_metadata(lambda metadata: metadata["schema"].update(changes))


def without_metadata(content, folder):
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    return model.SerializeToString()


def external_weights(content, folder, where=lambda model: model.graph.initializer[0]):
    (folder / "secret.bin").write_bytes(bytes(4096))
    model = onnx.load_model_from_string(content)
    tensor = where(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return model.SerializeToString()


def external_constant(content, folder):
    """Hides the reference in a constant inside the branch of an If."""

    def hidden(model):
        constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0]))
        output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])
        branch = helper.make_graph([constant], "branch", [], [output])
        model.graph.node.append(
            helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
        )
        return model.graph.node[-1].attribute[0].g.node[0].attribute[0].t

    return external_weights(content, folder, hidden)


def followed_by(operation, *inputs, name="probabilities"):
    """Returns a spoiler that puts ``operation`` behind the network and calls its output ``name``."""

    def spoil(content, folder):
        model = onnx.load_model_from_string(content)
        (last,) = (node for node in model.graph.node if "probabilities" in node.output)
        last.output[0] = "inner"
        model.graph.node[-2].input[0] = "inner"  # the label is made of them too
        model.graph.initializer.extend(
            helper.make_tensor(f"i{number}", TensorProto.INT64, [len(values)], values)
            for number, values in enumerate(inputs)
        )
        names = [f"i{number}" for number in range(len(inputs))]
        model.graph.node.append(helper.make_node(operation, ["inner", *names], [name]))
        model.graph.output[1].name = name
        return model.SerializeToString()

    return spoil


def unknown_operation(content, folder):
    model = onnx.load_model_from_string(content)
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    return model.SerializeToString()


def filled(size, operation="ConstantOfShape"):
    """Returns a spoiler that adds a tensor of ``size`` ones to the network."""

    def spoil(content, folder):
        model = onnx.load_model_from_string(content)
        model.graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [2], [size, size]))
        inputs = ["size"] if operation == "ConstantOfShape" else ["one", "size"]
        model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
        model.graph.node.append(helper.make_node(operation, inputs, ["large"]))
        return model.SerializeToString()

    return spoil


def declared_large(content, folder):
    model = onnx.load_model_from_string(content)
    model.graph.initializer.append(TensorProto(name="large", data_type=TensorProto.FLOAT, dims=[10**12, 10**6]))
    return model.SerializeToString()


def function_bomb(content, folder):
    """Adds functions that call the one before them twice: 2**60 operations in 60 lines."""
    model = onnx.load_model_from_string(content)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    for level in range(60):
        name, domain = (f"F{level - 1}", "f") if level else ("Neg", "")
        nodes = [helper.make_node(name, [one], [two], domain=domain) for one, two in (("a", "b"), ("b", "c"))]
        model.functions.append(helper.make_function("f", f"F{level}", ["a"], ["c"], nodes, opsets))
    model.opset_import.add(domain="f", version=1)
    model.graph.node.append(helper.make_node("F59", [model.graph.input[0].name], ["bomb"], domain="f"))
    return model.SerializeToString()


def cycle(content, folder):
    """Feeds an operation with what is computed from its output."""
    model = onnx.load_model_from_string(content)
    names = [("loop", "back"), ("back", "loop")]
    model.graph.node.extend(helper.make_node("Add", [one, model.graph.input[0].name], [two]) for one, two in names)
    return model.SerializeToString()


def million_nodes(content, folder):
    model = onnx.load_model_from_string(content)
    node = helper.make_node("Neg", [model.graph.input[0].name], ["unused"]).SerializeToString()
    field = b"\x0a" + bytes([len(node)]) + node  # field 1 of a graph
    graph = onnx.GraphProto.FromString(model.graph.SerializeToString() + field * 1_000_000)
    model.graph.CopyFrom(graph)
    return model.SerializeToString()


def nested_nodes(content, folder):
    """Hides them in the branch of an If."""
    model = onnx.load_model_from_string(content)
    node = helper.make_node("Neg", ["a"], ["b"])
    branch = helper.make_graph([node] * 70_000, "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch))
    return model.SerializeToString()


SPOILED = {
    "cycle": (cycle, "onnxruntime can run"),
    "a million nodes": (million_nodes, "may have 65,536 operations, but has 1,000,"),
    "nested nodes": (nested_nodes, "may have 65,536 operations, but has 140,"),
    "path as a column": (with_schema(features={"numeric": ["../../etc/passwd"]}, levels=[]), "what its schema says"),
    "bomb": (function_bomb, "functions of its own"),
    "filled": (filled(10**6), "may have 268,435,456 elements, but 'size' has 1,000,000,000,000"),
    "expanded": (filled(10**6, "Expand"), "may have 268,435,456 elements"),
    "declared large": (declared_large, "may have 268,435,456 elements, but 'large'"),
    "truncated": (lambda content, folder: content[: len(content) // 2], "damaged"),
    "text": (lambda content, folder: b"not a network\n" * 99, "damaged"),
    "empty": (lambda content, folder: b"", "must be a network that nas exported"),
    "without metadata": (without_metadata, "must be a network that nas exported"),
    "metadata no JSON": (with_metadata(lambda metadata: "{'a': 1"), "must be JSON"),
    "metadata nested": (with_metadata(lambda metadata: "[" * 100_000), "must be JSON"),
    "metadata a list": (with_metadata(lambda metadata: "[1]"), "malformed"),
    "newer": (with_metadata(lambda metadata: metadata.update(format=FORMAT_VERSION + 1)), "update nas"),
    "format a word": (with_metadata(lambda metadata: metadata.update(format="1")), "malformed"),
    "no schema": (with_metadata(lambda metadata: metadata.pop("schema") and None), "malformed"),
    "no classes": (with_schema(classes=[]), "malformed"),
    "class no word": (with_schema(classes=["a", 1]), "malformed"),
    "unknown input": (with_schema(features={"text": ["a"]}), "malformed"),
    "levels missing": (with_schema(levels=[]), "malformed"),
    "shape of an image": (with_schema(shape=[1, 2, 3]), "malformed"),
    "other columns": (with_schema(features={"numeric": ["age"]}, levels=[]), "what its schema says"),
    "other classes": (with_schema(classes=["a", "b", "c"]), "what its schema says"),
    "other output": (followed_by("Identity", name="scores"), "what its schema says"),
    "one row for all": (followed_by("Slice", [0], [1]), "a row of predictions for each row"),
    "dates without parts": (with_schema(dates={}), r"since\.|missing"),
    "external weights": (external_weights, "points to another file"),
    "external constant": (external_constant, "points to another file"),
    "unknown operation": (unknown_operation, "onnxruntime can run"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_file_is_one_sentence(case, classifier, tmp_path, capfd):
    spoil, reason = SPOILED[case]
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "model.onnx"
    path.write_bytes(spoil(classifier[2].read_bytes(), tmp_path))
    people().to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises((ExportError, DataError), match=reason) as caught:
        predict_file(path, tmp_path / "new.csv")
    assert isinstance(caught.value, ExportError) or case == "dates without parts"  # then a column is not in the table
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_every_truncation_is_refused(classifier, tmp_path):
    content = classifier[2].read_bytes()
    path = tmp_path / "model.onnx"
    for end in np.linspace(0, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:end])
        with pytest.raises(ExportError):
            open_model(path)


def test_missing_model_is_one_sentence(tmp_path):
    with pytest.raises(ExportError, match="none at"):
        predict_file(tmp_path / "model.onnx", tmp_path / "new.csv")


def test_arrays_of_another_shape_are_refused(classifier):
    with pytest.raises(ExportError, match="must fit the inputs"):
        open_model(classifier[2]).predict({"numeric": np.zeros((2, 1), np.float32)})
