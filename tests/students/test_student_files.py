"""Files of students: what they may name, earlier versions, and damaged or hostile ones."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import limbeck
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about
from limbeck.models.saving import save_network
from text_files import rows, write_csv

BLANK = {"num_classes": 2, "classes": ["no", "yes"], "task": {"name": "classification"}, "computing": {}}


def changed(run, folder, **entries):
    """A copy of a run's student whose metadata has other entries; None takes one out."""
    file = run.folder / "student.safetensors"
    about = {key: value for key, value in {**read_about(file), **entries}.items() if value is not None}
    save_file(load_file(file), folder / "student.safetensors", metadata={"limbeck": json.dumps(about)})
    return folder / "student.safetensors"


def line(path, **options):
    with pytest.raises(UserError) as error:
        limbeck.load(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_a_file_is_not(photo_run, tmp_path):
    assert "nowhere: does not exist, expected student.safetensors" in line(tmp_path / "nowhere")
    assert "holds no student.safetensors, expected the folder of a complete run" in line(tmp_path)
    (tmp_path / "net.pt").write_bytes(pickle.dumps({}))
    assert "is no .safetensors file" in line(tmp_path / "net.pt")
    hostile = tmp_path / "student.safetensors"
    hostile.write_bytes(pickle.dumps({"weight": [1, 2]}))
    assert "not a readable safetensors file" in line(hostile)
    whole = (photo_run.folder / "student.safetensors").read_bytes()
    hostile.write_bytes(whole[: len(whole) // 2])
    assert "not a readable safetensors file" in line(hostile)
    save_file({"weight": torch.ones(2)}, hostile)
    assert "has no metadata of limbeck" in line(hostile)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"name": None}, "metadata.name: missing"),
        ({"classes": ["cat"]}, "has 1 classes, and num_classes 3"),
        ({"temperature": -1.0}, "metadata.temperature: got -1.0"),
        ({"temperature": "warm"}, "metadata.temperature: got 'warm'"),
        ({"mean": [0.5]}, "data.mean: got 1 values, expected 3"),
        ({"input_shape": [3, 24]}, "metadata.input_shape"),
        ({"kind": "smells"}, "kind: got 'smells', expected one of images, masks"),
        ({"task": {"name": "clasification"}}, "did you mean 'classification'"),
        ({"task": 3}, "metadata.task: got 3"),
        ({"name": "resnet9000"}, "resnet9000"),
        ({"name": "sklearn:SVC"}, "is an estimator"),
        ({"options": {"width": 3}}, "has shape"),
        ({"computing": {"precision": "int4"}}, "computing.precision: got 'int4'"),
    ],
)
def test_damaged_metadata(photo_run, tmp_path, entries, expected):
    assert expected in line(changed(photo_run, tmp_path, **entries))


def test_metadata_that_is_no_json(photo_run, tmp_path):
    file = tmp_path / "student.safetensors"
    save_file(load_file(photo_run.folder / "student.safetensors"), file, metadata={"limbeck": "{" * 10_000})
    assert "its metadata is damaged" in line(file)


def test_the_file_alone_suffices(photo_run, tmp_path):
    shutil.copy(photo_run.folder / "student.safetensors", tmp_path / "mine.safetensors")
    images = torch.zeros(2, 3, 30, 40, dtype=torch.uint8)
    expected = limbeck.load(photo_run.folder).predict(images)
    assert torch.equal(limbeck.load(tmp_path / "mine.safetensors").predict(images), expected)


def test_a_recorded_temperature_is_applied(photo_run, tmp_path):
    images = torch.arange(2 * 3 * 24 * 24).remainder(256).to(torch.uint8).view(2, 3, 24, 24)
    plain = limbeck.load(photo_run.folder)
    warm = limbeck.load(changed(photo_run, tmp_path, temperature=3.0))
    assert (plain.temperature, warm.temperature) == (1.0, 3.0)
    assert torch.equal(warm.predict(images), (plain.output(plain.inputs(images)).float() / 3.0).softmax(dim=1))


NEW = dict.fromkeys(("task", "kind", "facts", "outputs", "computing", "config", "pretrained", "data", "reduced"))


@pytest.mark.parametrize("fixture", ["photo_run", "text_run", "table_run", "mask_run"])
def test_files_of_earlier_versions(fixture, request, tmp_path):
    run = request.getfixturevalue(fixture)
    file = changed(run, tmp_path, **NEW)
    assert "does not record its task, as files of earlier versions; expected it beside" in line(file)
    task = "segmentation" if fixture == "mask_run" else "classification"
    former, present = limbeck.load(file, task=task), limbeck.load(run.folder)
    assert type(former.preparation) is type(present.preparation)
    assert "earlier version" in former.notes[0]
    assert present.notes == ()


def test_a_detector_of_an_earlier_version_lacks_its_resizing(box_run, tmp_path):
    assert "metadata.resizing: missing" in line(changed(box_run, tmp_path, **NEW, resizing=None), task="detection")


def test_another_task_than_the_recorded_one(photo_run):
    assert "got 'multilabel', but the student was trained for 'classification'" in line(
        photo_run.folder, task="multilabel"
    )


def test_code_of_the_user_runs_with_trust_alone(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "own_student_net.py").write_text(
        "from torch import nn\ndef net(num_classes):\n    return nn.Linear(4, num_classes)\n"
    )
    monkeypatch.chdir(here)
    about = {**BLANK, "name": "python:own_student_net:net"}
    for folder in (here, elsewhere):
        save_network(folder / "student.safetensors", nn.Linear(4, 2), about)
    assert limbeck.load(here / "student.safetensors").network.out_features == 2
    assert "the student's file lies outside the working folder; expected --trust" in line(
        elsewhere / "student.safetensors"
    )
    assert limbeck.load(elsewhere / "student.safetensors", trust=True).network.out_features == 2
    monkeypatch.chdir(elsewhere)
    monkeypatch.delitem(__import__("sys").modules, "own_student_net")
    assert "has no module 'own_student_net'" in line(elsewhere / "student.safetensors")


def test_code_as_the_task_is_refused_too(tmp_path):
    about = {**BLANK, "name": "resnet8", "task": {"name": "python:os:system"}}
    save_network(tmp_path / "student.safetensors", nn.Linear(4, 2), about)
    assert "task: got 'python:os:system', but the working folder" in line(tmp_path / "student.safetensors")


def test_inputs_that_the_datas_own_code_made(tmp_path):
    save_network(tmp_path / "student.safetensors", nn.Linear(4, 2), {**BLANK, "name": "python:torch.nn:Identity"})
    about = {**BLANK, "name": "mlp", "facts": {"in_features": 4}, "options": {"hidden": 3}, "data": "mine"}
    save_network(tmp_path / "student.safetensors", limbeck.models.create("mlp", num_classes=2, **_mlp()), about)
    student = limbeck.load(tmp_path)
    assert student.network(torch.zeros(1, 4)).shape == (1, 2)
    with pytest.raises(UserError, match="does not record how samples become inputs .the code of data mine."):
        student.predict([[0.0] * 4])


def _mlp():
    return {"facts": {"in_features": 4}, "hidden": 3}


def test_a_network_with_weights_of_its_library_is_made_without_them(tmp_path, monkeypatch):
    """Nothing is downloaded, and what the library's weights set beside themselves stays."""
    name = "torchvision:googlenet"
    network = limbeck.models.create(name, num_classes=2, transform_input=True)
    options = {"pretrained": True}
    save_network(
        tmp_path / "student.safetensors",
        network,
        {**BLANK, "name": name, "facts": {"in_channels": 3}, "options": options, "pretrained": True},
    )
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(limbeck.load(tmp_path).network(images), network.eval()(images))


def test_a_detector_with_weights_of_torchvision_is_refused(box_run, tmp_path):
    name = "torchvision:fasterrcnn_resnet50_fpn"
    assert "cannot be built without downloading them" in line(
        changed(box_run, tmp_path, name=name, pretrained=True, options={})
    )


def test_a_model_of_transformers_needs_no_folder(distilled, tmp_path):
    library = pytest.importorskip("transformers")
    write_csv(tmp_path / "texts" / "train.csv", rows(24))
    write_csv(tmp_path / "texts" / "test.csv", rows(6, start=100))
    config = library.BertConfig(
        vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    library.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    recipe = {
        "data": {"name": "text", "root": str(tmp_path / "texts"), "options": {"max_length": 16, "vocabulary_size": 60}},
        "student": f"transformers:{tmp_path / 'bert'}",
        "training": {"epochs": 1, "batch_size": 8, "device": "cpu", "precision": "fp32"},
    }
    run = distilled("bert", recipe)
    shutil.rmtree(tmp_path / "bert")
    predicted = limbeck.load(run.folder).predict(tmp_path / "texts" / "test.csv").argmax(dim=1).int()
    with safe_open(run.folder / "predictions.safetensors", "pt") as stored:
        assert torch.equal(predicted, stored.get_tensor("test"))
    assert str(tmp_path) not in json.dumps(read_about(run.folder / "student.safetensors")["config"])
    file = changed(run, tmp_path, config=None)
    assert "and there is no such folder; expected a student of this version" in line(file)
