"""Pretrained bodies with new heads, frozen layers, and files of limbeck's own as teachers."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import limbeck
from limbeck.build.context import Context
from limbeck.build.teachers import build_teacher
from limbeck.errors import UserError
from limbeck.models import freeze, hold_frozen_norms
from limbeck.runs import Reporting, load_recipe

FROZEN = ["conv1", "bn1", "layer1"]


def network(classes, width=0.5):
    torch.manual_seed(7)
    net = limbeck.models.create("resnet8", num_classes=classes, in_channels=1, width=width)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    return net


@pytest.fixture
def body(tmp_path):
    torch.save({"state_dict": {f"model.{k}": v for k, v in network(4).state_dict().items()}}, tmp_path / "body.ckpt")
    return tmp_path / "body.ckpt"


def test_the_layers_of_the_network_used_here():
    assert set(FROZEN) <= {name for name, _ in network(4).named_modules()}


def is_kept(state, source):
    return {key: torch.equal(state[key], value) for key, value in source.items() if "num_batches" not in key}


def test_a_teacher_from_a_pretrained_body(tiny, body, tmp_path):
    lines = []
    teacher = {**tiny["teacher"], "weights": str(body), "freeze": FROZEN}
    recipe = {**tiny, "method": "kd", "teacher": teacher}
    limbeck.run(recipe, out=tmp_path / "one", reporting=Reporting(lines.append))
    new = next(line for line in lines if "pretrained body" in line)
    assert new.startswith(f"teacher: resnet8 weights '{body}'")
    assert "2 new (fc.weight, fc.bias)" in new
    stored = next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors"))
    for key, kept in is_kept(load_file(stored), network(4).state_dict()).items():
        assert kept == key.startswith(tuple(f"{layer}." for layer in FROZEN)) or key.startswith("fc"), key
    # Other weights in the same place, or other frozen layers, make another teacher; the same make none.
    for change, count in (({}, 1), ({"teacher.freeze": ["conv1"]}, 2)):
        limbeck.run(recipe, overrides=change, out=tmp_path / f"again{count}")
        assert len(list((tmp_path / "cache" / "teachers").iterdir())) == count
    torch.save({key: value + 1 for key, value in network(4).state_dict().items()}, body)
    limbeck.run(recipe, out=tmp_path / "other")
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 3


def test_a_student_from_a_pretrained_body_with_frozen_layers_resumes(tiny, body, tmp_path):
    class Stop:
        def step(self, position, meter):
            pass

        def epoch(self, row, epochs):
            raise KeyboardInterrupt

    student = {"name": "resnet8", "options": {"width": 0.5}, "weights": str(body), "freeze": FROZEN}
    recipe = {**tiny, "student": student}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    state = whole.student.state_dict()
    for key, kept in is_kept(state, {k: v for k, v in network(4).state_dict().items() if "fc" not in k}).items():
        assert kept == key.startswith(tuple(f"{layer}." for layer in FROZEN)), key
    log = (tmp_path / "whole" / "log.txt").read_text()
    assert "student: resnet8 weights" in log
    assert "2 new (fc.weight, fc.bias)" in log
    assert "parameter tensors are frozen" in log
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=Reporting(progress=Stop()))
    resumed = limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert all(torch.equal(value, state[key]) for key, value in resumed.student.state_dict().items())


def test_averaged_weights_by_their_entry(tiny, tmp_path):
    net = network(10, width=0.25)
    both = {"model": net.state_dict(), "model_ema": {f"module.{k}": v * 2 for k, v in net.state_dict().items()}}
    torch.save(both, tmp_path / "last.pth")
    teacher = {"name": "resnet8", "options": {"width": 0.25}, "weights": str(tmp_path / "last.pth")}
    recipe, lines = load_recipe({**tiny, "method": "kd", "teacher": teacher}), []
    made = build_teacher(Context(recipe), Reporting(lines.append)).teacher
    assert torch.equal(made.network.fc.weight, net.fc.weight)
    assert any("weights_entry: model_ema takes the averaged ones" in line for line in lines)
    averaged = load_recipe(recipe, {"teacher.weights_entry": "model_ema"})
    made = build_teacher(Context(averaged), Reporting()).teacher
    assert torch.equal(made.network.fc.weight, net.fc.weight * 2)


def test_a_student_of_ones_own_as_teacher_brings_its_normalization(tiny, tmp_path):
    other = {"data.normalize": {"mean": [0.2], "std": [0.5]}}
    done = limbeck.run(tiny, overrides=other, out=tmp_path / "first")
    weights = str(tmp_path / "first" / "student.safetensors")
    teacher = {"name": "resnet8", "options": {"width": 0.25}, "weights": weights}
    recipe, lines = load_recipe({**tiny, "method": "kd", "teacher": teacher}), []
    context = Context(recipe)
    data, made = context.data, build_teacher(context, Reporting(lines.append)).teacher
    assert "teacher: normalized with the mean (0.2,) and deviation (0.5,) that its file records" in lines
    pixels = torch.rand(4, 1, 28, 28)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        torch.testing.assert_close(
            made((pixels - mean) / std, torch.zeros(4, dtype=torch.long)), done.student((pixels - 0.2) / 0.5)
        )
    for change in (other, {"teacher.normalize": {"mean": list(data.mean), "std": list(data.std)}}):
        again, lines = load_recipe(recipe, change), []
        build_teacher(Context(again), Reporting(lines.append))
        assert not [line for line in lines if "records" in line]


def test_a_recorded_normalization_is_not_reported_as_the_students(tiny, tmp_path):
    net = network(10)
    own_file(tmp_path / "own.safetensors", net, mean=[0.5], std=[0.5])
    teacher = {"name": "resnet8", "options": {"width": 0.5}, "weights": str(tmp_path / "own.safetensors")}
    lines = []
    limbeck.run({**tiny, "method": "kd", "teacher": teacher}, reporting=Reporting(lines.append))
    (warning,) = (line for line in lines if line.startswith("warning: the teacher is near chance"))
    assert "as the student's" not in warning


def own_file(path, net, **about):
    import json

    usual = {"name": "resnet8", "options": {"width": 0.25}, "classes": [str(i) for i in range(10)]}
    save_file(net.state_dict(), path, metadata={"limbeck": json.dumps({**usual, **about})})
    return str(path)


SWAPPED = ["1", "0", *map(str, range(2, 10))]


@pytest.mark.parametrize(
    ("about", "classes", "message"),
    [
        (
            {"classes": SWAPPED},
            10,
            "weights: the file is for 10 classes, the first other one '1' for '0'; expected the 10",
        ),
        ({"classes": ["a", "b"]}, 2, "weights: the file is for 2 classes, the first other one 'a' for '0'"),
        ({"name": "resnet20"}, 4, "; the file is of 'resnet20' with the options {'width': 0.25}"),
        ({"options": {"width": 2}}, 4, "; the file is of 'resnet8' with the options {'width': 2}"),
        ({"mean": ["x"], "std": [1]}, 10, "its metadata.mean.0: got 'x'"),
    ],
)
def test_an_own_file_that_does_not_fit_as_teacher(tiny, tmp_path, about, classes, message):
    weights = own_file(tmp_path / "net.safetensors", network(classes, 0.25), **about)
    teacher = {"name": "resnet8", "options": {"width": 0.25}, "weights": weights}
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_damaged_metadata_is_named(tiny, tmp_path):
    path = tmp_path / "net.safetensors"
    for text in ("{", "[1]", "[" * 100_000):
        save_file(network(10, 0.25).state_dict(), path, metadata={"limbeck": text})
        with pytest.raises(UserError, match="its metadata is damaged"):
            limbeck.run({**tiny, "student": {**tiny["student"], "weights": str(path)}}, out=tmp_path / "run")


def test_an_own_file_as_student(tiny, tmp_path):
    path, lines = tmp_path / "net.safetensors", []
    names = [f"thing {i}" for i in range(10)]
    recipe = {**tiny, "student": {**tiny["student"], "weights": own_file(path, network(10, 0.25), classes=names)}}
    limbeck.run(recipe, out=tmp_path / "other", reporting=Reporting(lines.append))
    assert any("2 new (fc.weight, fc.bias)" in line for line in lines)
    own_file(path, network(10, 0.25), classes=SWAPPED)
    with pytest.raises(
        UserError, match="student: weights: the file is for 10 classes, the first other one '1' for '0'"
    ):
        limbeck.run(recipe, out=tmp_path / "swapped")
    lines.clear()
    own_file(path, network(10, 0.25))
    limbeck.run(recipe, out=tmp_path / "same", reporting=Reporting(lines.append))
    assert not [line for line in lines if "new" in line]


def test_a_pretrained_body_does_not_teach_with_an_untrained_head(tiny, tmp_path, monkeypatch):
    import timm

    source = timm.create_model("test_resnet")
    for reader in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(f"timm.models._builder.{reader}", lambda *_, **__: dict(source.state_dict()))
    for teacher in ({"options": {"pretrained": True}}, {"weights": "DEFAULT"}):
        recipe = {**tiny, "method": "kd", "teacher": {"name": "timm:test_resnet", **teacher}}
        with pytest.raises(
            UserError, match=r"the classifier is new, for 10 classes, expected teacher\.training beside it"
        ):
            limbeck.run(recipe, out=tmp_path / "run")
        trained = {"teacher.training": tiny["teacher"]["training"], "teacher.train_limit": 20}
        lines = []
        limbeck.run(
            recipe,
            overrides=trained,
            out=tmp_path / str(len(teacher)) / str(id(teacher)),
            reporting=Reporting(lines.append),
        )
        assert "teacher: timm:test_resnet: pretrained body; the classifier is new, for 10 classes" in lines


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layerx"], "student: unknown layer 'layerx'; did you mean 'layer3' or 'layer2'"),
        ("relu1", "student: "),
        (["*"], "student: freeze: got *, which leaves nothing to train"),
        (3, "student.freeze: got 3"),
    ],
)
def test_layers_that_cannot_be_frozen(tiny, tmp_path, names, message):
    with pytest.raises(UserError) as error:
        limbeck.run(tiny, overrides={"student.freeze": names}, out=tmp_path / "run")
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_names_patterns_and_norms_of_frozen_layers():
    net = limbeck.models.create("torchvision:resnet18", num_classes=3)
    frozen = freeze(net, ["conv1", "bn1", "layer[12]"])
    assert {name.partition(".")[0] for name in frozen} == {"conv1", "bn1", "layer1", "layer2"}
    hold_frozen_norms(net.train())
    modes = {name: layer.training for name, layer in net.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    assert not any(mode for name, mode in modes.items() if name.startswith(("bn1", "layer1", "layer2")))
    assert all(mode for name, mode in modes.items() if name.startswith(("layer3", "layer4")))
    assert freeze(limbeck.models.create("timm:test_vit", num_classes=3, img_size=32), ["pos_embed"]) == ("pos_embed",)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"teacher.training.batch_size": 61}, "teacher.training.batch_size: got 61"),
        ({"teacher.train_limit": 6000}, "teacher.train_limit: got 6000"),
        ({"training.batch_size": 61}, "training.batch_size: got 61"),
    ],
)
def test_the_teachers_keys_are_reported_as_the_teachers(tiny, tmp_path, change, line):
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd"}, overrides=change, out=tmp_path / "run")
    assert str(error.value).startswith(line)
