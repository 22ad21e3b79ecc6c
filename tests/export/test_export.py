"""Exported files compute what students predict, in other programs and in batches of any size."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limbeck
from limbeck.export import export_student
from limbeck.export.inputs import calibration
from limbeck.export.subject import read_subject
from limbeck.runs.folder import RunFolder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def properties(opened):
    return {name: json.loads(value) for name, value in opened.get_modelmeta().custom_metadata_map.items()}


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def pixels_of(data):
    return np.stack([np.array(Image.open(path)).transpose(2, 0, 1) for path in data.test.paths])


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


@pytest.fixture(scope="module")
def photo_file(photo_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "photo.onnx"
    lines = []
    options = {"result": "probabilities", "preprocessing": True, "int8": True, "calibration_samples": 20}
    return export_student(photo_run.folder, out, **options, log=lines.append), lines


def test_images_with_preparation_and_temperature_inside(photo_run, photo_file):
    """NumPy normalizes and applies the temperature; the network alone is PyTorch's, in float32."""
    opened, data = session(photo_file[0].files[0]), read_subject(photo_run.folder).data
    student, pixels = limbeck.load(photo_run.folder), pixels_of(data)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        inputs = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32))
        logits = student.network(inputs).double().numpy()
    assert student.temperature == 2.5
    for size in (1, 3, 7):
        (got,) = opened.run(None, {"pixels": pixels[:size]})
        np.testing.assert_allclose(got, softmax(logits[:size] / 2.5), atol=1e-5)
    # In the run's own precision it predicts nearly the same.
    np.testing.assert_allclose(opened.run(None, {"pixels": pixels})[0], student.predict(data.test.paths), atol=0.02)
    (given,), (result,) = opened.get_inputs(), opened.get_outputs()
    assert (given.name, given.type, given.shape) == ("pixels", "tensor(uint8)", ["batch", 3, 16, 16])
    assert (result.name, result.shape) == ("probabilities", ["batch", 3])


def test_a_file_records_its_classes_and_preparation(photo_run, photo_file):
    data = read_subject(photo_run.folder).data
    for file in photo_file[0].files:
        about = properties(session(file))
        assert about["classes"] == ["cat", "dog", "eel"]
        assert (about["task"], about["temperature"], about["temperature_to_apply"]) == ("classification", 2.5, 1.0)
        assert about["preparation"]["mean"] == pytest.approx(data.mean)
        assert about["preparation"]["input_shape"] == [3, 16, 16]
        assert about["preparation_inside"] == "normalization of uint8 pixels"


def test_8_bit_numbers_and_what_they_cost(photo_run, photo_file):
    done, lines = photo_file
    data = read_subject(photo_run.folder).data
    assert [file.name for file in done.files] == ["photo.onnx", "photo.int8.onnx"]
    pixels, labels = pixels_of(data), data.test.labels.numpy()
    outputs = [session(file).run(None, {"pixels": pixels})[0] for file in done.files]
    for name, output in zip(("float32", "int8"), outputs, strict=True):
        assert done.figures[f"{name}.accuracy"] == pytest.approx((output.argmax(axis=1) == labels).mean())
    assert 0 < np.abs(outputs[0] - outputs[1]).max() < 0.2
    onnx = pytest.importorskip("onnx")
    operators = {node.op_type for node in onnx.load(done.files[1]).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert "BatchNormalization" not in operators
    assert any("calibrated on 20 samples" in line and "before" in line for line in lines)
    assert any("was measured in bf16, the file computes in float32" in line for line in lines)


def test_the_same_samples_calibrate_in_every_run(photo_run):
    subject = read_subject(photo_run.folder)
    first, second = (torch.cat(list(calibration(subject, 34))) for _ in range(2))
    assert first.shape == (34, 3, 16, 16)
    assert torch.equal(first, second)
    # All of them are training images, and not those of the first class alone.
    assert torch.cat(list(calibration(subject, 999))).shape[0] == 36


def test_rows_of_a_table_with_their_preparation(table_run, tmp_path):
    """Cells as they stand in the file: the numbers, and the place of each category among those of the metadata."""
    done = export_student(table_run.folder, tmp_path / "table.onnx", preprocessing=True, result="probabilities")
    opened, student = session(done.files[0]), limbeck.load(table_run.folder)
    about = properties(opened)
    rows = [{"size": k / 3, "year": 2001.0 + k, "color": "blue" if k % 2 else "red"} for k in range(7)]
    named = about["preparation"]
    for size in (1, 3, 7):
        numbers = np.array([[row[name] for name in named["numeric"]] for row in rows[:size]])
        places = np.array([[named["categories"]["color"].index(row["color"])] for row in rows[:size]])
        (got,) = opened.run(None, {"numeric": numbers, "categories": places})
        np.testing.assert_allclose(got, student.predict(rows[:size]), atol=1e-6)


def test_a_program_of_torch_export(table_run, tmp_path):
    done = export_student(table_run.folder, tmp_path / "table.pt2", format="torch-export")
    about = {"limbeck.json": ""}
    module = torch.export.load(done.files[0], extra_files=about).module()
    student = limbeck.load(table_run.folder)
    inputs = student.inputs([{"size": k, "year": 2000 + k, "color": "red"} for k in range(7)])
    for size in (1, 3, 7):
        torch.testing.assert_close(module(inputs[:size]), student.network(inputs[:size]))
    assert json.loads(about["limbeck.json"])["classes"] == ["big", "mid", "small"]


def test_texts_with_their_tokenizer(text_run, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    done = export_student(text_run.folder, tmp_path / "text.onnx")
    assert [file.name for file in done.files] == ["text.onnx", "tokenizer.json"]
    opened, student = session(done.files[0]), limbeck.load(text_run.folder)
    assert [given.name for given in opened.get_inputs()] == ["input_ids", "attention_mask"]
    tokenizer = tokenizers.Tokenizer.from_file(str(done.files[1]))
    tokenizer.enable_padding(pad_id=properties(opened)["preparation"]["padding_index"])
    texts = [f"card {'very ' * k}please" for k in range(7)]
    for size in (1, 3, 7):
        encoded = tokenizer.encode_batch(texts[:size])
        ids = np.array([entry.ids for entry in encoded], dtype=np.int64)
        mask = np.array([entry.attention_mask for entry in encoded], dtype=np.int64)
        (logits,) = opened.run(None, {"input_ids": ids, "attention_mask": mask})
        np.testing.assert_allclose(softmax(logits), student.predict(texts[:size]), atol=1e-6)
    # The tokenizer that is there is the same; another one is not replaced.
    again = export_student(text_run.folder, tmp_path / "text.pt2", format="torch-export")
    assert again.files == (tmp_path / "text.pt2", done.files[1])
    done.files[1].write_text("{}")
    with pytest.raises(limbeck.UserError, match=r"tokenizer\.json: exists already"):
        export_student(text_run.folder, tmp_path / "other.pt2", format="torch-export")


def test_maps_of_classes_in_the_size_of_the_images(mask_run, tmp_path):
    options = {"result": "classes", "preprocessing": True, "pixels": "float"}
    done = export_student(mask_run.folder, tmp_path / "mask.onnx", **options)
    opened, student = session(done.files[0]), limbeck.load(mask_run.folder)
    root = Path(RunFolder(mask_run.folder).read_recipe()["data"]["root"])
    paths = sorted((root / "test" / "images").iterdir())
    pixels = np.stack([np.array(Image.open(path)).transpose(2, 0, 1) for path in paths]).astype(np.float32) / 255
    expected = student.predict(paths)
    for size in (1, 3, 7):
        (got,) = opened.run(None, {"pixels": pixels[:size]})
        assert (got.shape, got.dtype) == ((size, 24, 32), np.int64)
        # A tie between two classes may be broken by a last bit.
        assert (got == expected.classes[:size].numpy()).mean() > 0.999
    assert done.verified.difference < 1e-5


def test_a_copy_of_the_weights_is_loaded_as_the_student_is(photo_run, tmp_path):
    done = export_student(photo_run.folder, tmp_path / "copy.safetensors", format="safetensors")
    again, student = limbeck.load(done.files[0]), limbeck.load(photo_run.folder)
    paths = read_subject(photo_run.folder).data.test.paths
    assert (again.temperature, again.classes) == (2.5, student.classes)
    assert torch.equal(again.predict(paths), student.predict(paths))
    assert done.verified.difference == 0


MINE = """
from torch import nn

def make(num_classes):
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, num_classes))

class Odd(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(4, num_classes)
    def forward(self, x):
        import torch
        return self.last(torch.special.bessel_j0(x))

class Deciding(Odd):
    def forward(self, x):
        return self.last(x) if x.sum() > 0 else self.last(-x)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, distilled):
    """Run a network of the user's own in a working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_networks.py").write_text(MINE)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)

    def run(name):
        recipe = {"data": {"name": "iris"}, "method": "none", "student": f"python:my_networks:{name}"}
        optimizer = {"name": "adamw", "lr": 0.01}
        recipe["training"] = {"epochs": 1, "device": "cpu", "precision": "fp32", "optimizer": optimizer}
        return limbeck.run(recipe, out=tmp_path / "own")

    return run


def test_a_network_of_the_users_own(mine, tmp_path, monkeypatch):
    run = mine("make")
    done = export_student(run.folder, "own.pt2", format="torch-export")
    student = limbeck.load(run.folder)
    rows = [dict.fromkeys(student.about["numeric"], 1.5)]
    logits = torch.export.load(done.files[0]).module()(student.inputs(rows))
    np.testing.assert_allclose(softmax(logits.detach().numpy()), student.predict(rows), atol=1e-6)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(limbeck.UserError, match=r"expected --trust \(in Python trust=True\)"):
        export_student(run.folder, "own.pt2", format="torch-export")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Odd", "the network cannot be written as ONNX: the operator prims.bessel_j0"),
        ("Deciding", "torch.export cannot record the network"),
    ],
)
def test_what_cannot_be_exported_is_named(mine, name, message, command):
    run = mine(name)
    code, _, err = command("export", str(run.folder))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not list(run.folder.parent.glob("*.onnx"))
