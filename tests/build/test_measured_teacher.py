"""The teacher's own figures: right, measured once, before the first student, in the log, the summary and the table."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import limbeck
from data_layouts import write_mnist
from error_rate import ErrorRate
from limbeck.build.context import Context
from limbeck.build.data import load_data
from limbeck.build.measured_store import read_measured, write_measured
from limbeck.build.measured_teacher import MeasuredTeacher, measure_teacher
from limbeck.build.teachers import build_teacher
from limbeck.data import Views
from limbeck.runs import Reporting, load_recipe
from limbeck.tasks import Measured
from limbeck.teachers import LiveTeacher
from limbeck.training import Wording

FIGURES = ("accuracy", "loss", "ece", "confidence")


def network(seed=0):
    limbeck.seed_everything(seed)
    net = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
    with torch.no_grad():
        # So that its predictions vary, which an untrained network's hardly do.
        net(torch.randn(64, 1, 28, 28))
        limbeck.models.head(net, 10).weight.mul_(20)
    return net.eval()


def given(tiny, tmp_path, net=None, **more):
    """A recipe whose teacher is a file of weights."""
    path = tmp_path / "weights.pt"
    torch.save((net or network()).state_dict(), path)
    teacher = {"name": "resnet8", "options": {"width": 0.5}, "weights": str(path), **more}
    return {**tiny, "method": "kd", "teacher": teacher}


def measured(recipe, log=lambda _: None, overrides=None, **more):
    recipe = load_recipe(recipe, overrides)
    data = load_data(recipe.data)
    return measure_teacher(recipe, data, build_teacher(Context(recipe), Reporting()).teacher, log, **more)


def by_hand(net, tiny, split, *, precision="fp32", adapt=lambda x: x):
    """Accuracy, NLL, ECE and confidence of a network, by their definitions."""
    data = limbeck.data.load("mnist", root=tiny["data"]["root"])
    part = getattr(data, split)
    batch = next(Views(part, batch_size=len(part), mean=data.mean, std=data.std).epoch(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = net(adapt(batch.inputs)).float()
    confidence, predictions = logits.softmax(1).max(1)
    right = (predictions == batch.labels).double().numpy()
    bins = np.ceil(confidence.numpy() * 15).astype(int)
    parts = [(bins == i) for i in range(16)]
    ece = sum(abs(right[part].sum() - confidence.double().numpy()[part].sum()) for part in parts) / len(right)
    figures = (right.mean(), F.cross_entropy(logits, batch.labels), ece, confidence.mean())
    return dict(zip(FIGURES, map(float, figures), strict=True)), predictions


@pytest.fixture
def image_counts(monkeypatch):
    """Count the images that live teachers are run on."""
    counts, real = [], LiveTeacher.logits

    def logits(self, inputs, *args, **kwargs):
        counts.append(len(inputs))
        return real(self, inputs, *args, **kwargs)

    monkeypatch.setattr(LiveTeacher, "logits", logits)
    return counts


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_figures_are_those_of_their_definitions(tiny, tmp_path, precision):
    recipe = given(tiny, tmp_path)
    found = measured(recipe, overrides={"training.precision": precision})
    for split in ("train", "test"):
        expected, predictions = by_hand(network(), tiny, split, precision=precision)
        numbers = found.splits[split].numbers()
        assert {name: numbers[name] for name in FIGURES} == pytest.approx(expected, rel=1e-2, abs=1e-6)
        assert (found.splits[split].predictions == predictions).double().mean() >= (1 if precision == "fp32" else 0.9)


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-4), ("bf16", 2e-2)])
def test_the_teacher_is_measured_with_its_own_normalization_and_size(tiny, tmp_path, precision, near):
    own = {"mean": [0.5], "std": [0.25]}
    chosen = {"training.precision": precision}
    found = measured(given(tiny, tmp_path, normalize=own, size=32), overrides=chosen).splits["test"].numbers()

    def adapt(inputs):
        pixels = inputs * 0.3081 + 0.1307
        return F.interpolate((pixels - 0.5) / 0.25, size=32, mode="bilinear", antialias=True)

    expected, _ = by_hand(network(), tiny, "test", precision=precision, adapt=adapt)
    assert found["loss"] == pytest.approx(expected["loss"], abs=near)
    assert found["confidence"] == pytest.approx(expected["confidence"], abs=near)
    for change in ({}, {"normalize": own}, {"size": 32}):
        other = measured(given(tiny, tmp_path, **change), overrides=chosen)
        assert abs(other.splits["test"].loss - found["loss"]) > near


def test_an_ensemble_is_measured_as_one_and_one_that_sees_the_labels_is_not(tiny, tmp_path):
    member = given(tiny, tmp_path)["teacher"]
    torch.save(network(1).state_dict(), tmp_path / "other.pt")
    members = [member, {**member, "weights": str(tmp_path / "other.pt")}]
    found = measured({**tiny, "method": "kd", "teacher": {"members": members}})
    one, other = network(), network(1)
    expected, _ = by_hand(lambda inputs: (one(inputs) + other(inputs)) / 2, tiny, "test")
    assert found.splits["test"].loss == pytest.approx(expected["loss"], abs=1e-5)
    assert found.label == "2 teachers averaged by logits"
    logged, teacher = [], {"members": members, "average": "confidence"}
    assert measured({**tiny, "method": "kd", "teacher": teacher}, logged.append) is None
    assert logged == ["2 teachers averaged by confidence: is not measured, as its logits depend on the labels"]


@pytest.mark.parametrize("method", ["none", "label_smoothing", "tf_kd_reg", "lw_kd"])
def test_no_teacher_and_one_that_is_no_network_are_not_measured(tiny, image_counts, method):
    recipe = {**tiny, "method": method, "teacher": {"lightweight": {"per_class": 40, "epochs": 1}}}
    assert measured(recipe) is None
    assert not image_counts


def test_a_teacher_is_measured_once_whatever_the_method_and_seed(tiny, tmp_path, image_counts):
    recipe, logged = given(tiny, tmp_path), []
    first = measured(recipe, logged.append)
    assert sum(image_counts) == 60 + 30
    assert logged[0] == "measuring teacher resnet8 on 60 training and 30 test images"
    again = measured({**recipe, "method": "dist", "seed": 3}, logged.append)
    assert sum(image_counts) == 60 + 30
    assert {name: one.numbers() for name, one in again.splits.items()} == {
        name: one.numbers() for name, one in first.splits.items()
    }
    assert torch.equal(again.splits["test"].predictions, first.splits["test"].predictions)
    assert any("(measured in " in line for line in logged[:2])
    assert any(line.endswith("(measured before)") for line in logged[2:])


@pytest.mark.parametrize(
    ("change", "images"),
    [
        ({"training.precision": "bf16"}, 90),
        ({"data.normalize": {"mean": [0.5], "std": [0.5]}}, 90),
        ({"teacher.normalize": {"mean": [0.5], "std": [0.5]}}, 90),
        ({"teacher.size": 32}, 90),
        ({"data.train_limit": 50}, 50),
        ({"data.validation": 0.5}, 60),
    ],
)
def test_other_images_inputs_or_precision_are_measured_anew(tiny, tmp_path, image_counts, change, images):
    recipe = given(tiny, tmp_path)
    measured(recipe)
    image_counts.clear()
    measured(recipe, overrides=change)
    assert sum(image_counts) == images


def test_kept_figures_are_never_those_of_another_test_set_or_other_weights(tiny, tmp_path, image_counts):
    recipe = given(tiny, tmp_path)
    first = measured(recipe)
    write_mnist(tmp_path / "mnist", train=60, test=40)
    image_counts.clear()
    second = measured(recipe)
    assert sum(image_counts) == 40
    assert second.splits["test"].loss == pytest.approx(by_hand(network(), tiny, "test")[0]["loss"], abs=1e-5)
    assert second.splits["test"].loss != first.splits["test"].loss
    third = measured(given(tiny, tmp_path, network(1)))
    assert third.splits["test"].loss == pytest.approx(by_hand(network(1), tiny, "test")[0]["loss"], abs=1e-5)


def test_a_trained_teachers_figure_is_that_of_todays_test_set(tiny, tmp_path):
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "one")
    write_mnist(tmp_path / "mnist", train=60, test=40)
    done = limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "two")
    teacher = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
    (weights,) = (tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")
    limbeck.models.load_weights(teacher, weights)
    expected, _ = by_hand(teacher.eval(), tiny, "test")
    assert done.summary["teacher.test.accuracy"] == pytest.approx(expected["accuracy"])
    lines = (done.folder / "log.txt").read_text().splitlines()
    shown = [line for line in lines if line.startswith("teacher resnet8") and "accuracy" in line]
    assert len(shown) == 1
    assert f"test accuracy {100 * expected['accuracy']:.2f} %" in shown[0]


@pytest.mark.parametrize("damage", [b"", b"half", "a byte", "a figure"])
def test_a_damaged_file_is_measured_anew(tiny, tmp_path, image_counts, damage):
    recipe = given(tiny, tmp_path)
    first = measured(recipe)
    image_counts.clear()
    for path in (tmp_path / "cache" / "measured").iterdir():
        content = bytearray(path.read_bytes())
        if damage == "a byte":
            content[-1] ^= 1
        elif damage == "a figure":
            place = content.index(b"accuracy") + 14
            content[place] = ord("0") + (content[place] - ord("0") + 1) % 10
        path.write_bytes(content if isinstance(damage, str) else damage)
    assert measured(recipe).splits["test"].numbers() == first.splits["test"].numbers()
    assert sum(image_counts) == 90
    image_counts.clear()
    measured(recipe)
    assert not image_counts


def test_figures_that_cannot_be_kept_stop_no_run(tiny, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "measured").touch()
    logged = []
    assert measured(given(tiny, tmp_path), logged.append).splits["test"].accuracy >= 0
    assert sum("its figures are not kept for later runs" in line for line in logged) == 2


def test_the_validation_split_is_measured_instead_of_the_test_split(tiny, tmp_path):
    validation = {"data.validation": 0.5}
    assert set(measured(given(tiny, tmp_path), overrides=validation).splits) == {"train", "validation"}
    both = measured(given(tiny, tmp_path), overrides=validation, test=True)
    assert set(both.splits) == {"train", "validation", "test"}


def test_a_run_shows_the_figures_before_its_first_epoch_and_keeps_them_in_its_summary(tiny, tmp_path):
    done = limbeck.run(given(tiny, tmp_path), out=tmp_path / "run")
    summary = json.loads((done.folder / "summary.json").read_text())
    for split in ("train", "test"):
        expected, _ = by_hand(network(), tiny, split)
        assert {name: summary[f"teacher.{split}.{name}"] for name in FIGURES} == pytest.approx(expected, abs=1e-5)
    lines = (done.folder / "log.txt").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("epoch 1/"))
    shown = next(i for i, line in enumerate(lines) if line.startswith("teacher resnet8: test accuracy"))
    assert shown < first
    assert "on 60 of the student's training images accuracy" in lines[shown]
    assert "mean confidence" in lines[shown]
    assert not any(key.startswith("teacher.") for key in limbeck.run(tiny, out=tmp_path / "none").summary)


def test_measuring_changes_nothing_about_the_run(tiny, tmp_path, monkeypatch):
    recipe = {**given(tiny, tmp_path), "method": "lr+dist"}
    one = limbeck.run(recipe, out=tmp_path / "measured")
    monkeypatch.setattr("limbeck.runs.session.measured_for", lambda *_: None)
    other = limbeck.run(recipe, out=tmp_path / "not")
    assert one.summary["test.loss"] == other.summary["test.loss"]


def test_a_cached_teacher_is_measured_as_the_live_one(tiny, tmp_path):
    recipe = given(tiny, tmp_path)
    live = limbeck.run(recipe, out=tmp_path / "live").summary
    recipe["output"] = {**recipe["output"], "cache": str(tmp_path / "elsewhere")}
    cached = limbeck.run(recipe, overrides={"teacher.cache": "views"}, out=tmp_path / "cached").summary
    keys = [key for key in live if key.startswith("teacher.")]
    assert len(keys) > 8
    assert {key: cached[key] for key in keys} == {key: live[key] for key in keys}


def test_a_teacher_that_cannot_be_hashed_is_measured_every_time(tiny, tmp_path, image_counts):
    recipe, logged = load_recipe(given(tiny, tmp_path)), []
    data = load_data(recipe.data)
    for seed in (0, 1):
        net = network(seed)
        net.register_buffer("sparse", torch.eye(2).to_sparse())
        found = measure_teacher(recipe, data, LiveTeacher(net), logged.append)
        assert found.splits["test"].loss == pytest.approx(by_hand(network(seed), tiny, "test")[0]["loss"], abs=1e-5)
    assert sum(image_counts) == 2 * 90
    assert sum("its figures are not kept for later runs, as it cannot be hashed" in line for line in logged) == 2


def test_a_teacher_in_train_mode_gets_batches_of_all_classes(tiny, tmp_path, monkeypatch):
    seen, real = [], LiveTeacher.logits

    def logits(self, inputs, labels, *rest):
        seen.append(labels.tolist())
        return real(self, inputs, labels, *rest)

    monkeypatch.setattr(LiveTeacher, "logits", logits)
    recipe = load_recipe(given(tiny, tmp_path, train_mode=True))
    data = load_data(recipe.data)
    by_class = data.test.select(data.test.labels.argsort(stable=True))
    teacher = build_teacher(Context(recipe), Reporting()).teacher
    found = measure_teacher(recipe, replace(data, test=by_class), teacher, lambda _: None)
    # 60 training images make three batches; the test split's order is another than its classes'.
    test = seen[3:]
    assert [len(labels) for labels in test] == [20, 10]
    assert sorted(label for labels in test for label in labels) == by_class.labels.tolist()
    assert all(len(set(labels)) > 5 for labels in test)
    right = (found.splits["test"].predictions == by_class.labels).double().mean().item()
    assert right == pytest.approx(found.splits["test"].accuracy)


def test_a_long_measurement_reports_its_progress(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.build.measured_teacher._QUIET_SECONDS", -1)
    logged = []
    measured(given(tiny, tmp_path), logged.append)
    assert "teacher resnet8: 40 of 60 images measured" in logged


def test_a_python_function_as_teacher_and_a_self_teacher(tiny, tmp_path, monkeypatch):
    lines = [
        "import torch",
        "def make():",
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10, bias=False))",
        "    with torch.no_grad():",
        "        net[1].weight.copy_(torch.arange(7840.0).view(10, 784).sin())",
        "    return net",
    ]
    (tmp_path / "measured_own.py").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "measured_own", raising=False)
    one = measured({**tiny, "method": "kd", "teacher": "python:measured_own:make"})
    weight = torch.arange(7840.0).view(10, 784).sin()
    expected, _ = by_hand(lambda inputs: inputs.flatten(1) @ weight.T, tiny, "test")
    assert one.splits["test"].loss == pytest.approx(expected["loss"], rel=1e-5)
    found = measured({**tiny, "method": "dr_kd"})
    assert found.label == "self-teacher resnet8"


def zeros():
    net = network()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    return net


def spoiled():
    net = network()
    torch.nn.init.constant_(next(net.parameters()), float("nan"))
    return net


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (network, "warning: the teacher is near chance ("),
        (
            zeros,
            "warning: the teacher is near chance (right on 10.00 % of the test images, one class for all would be on",
        ),
    ],
)
def test_a_teacher_near_chance_is_reported_before_the_first_epoch(tiny, tmp_path, net, message):
    logged = []
    recipe = given(tiny, tmp_path, net())
    done = limbeck.run(recipe, out=tmp_path / "run", reporting=Reporting(logged.append, Epochs(logged)))
    for lines in (logged, (done.folder / "log.txt").read_text().splitlines()):
        warned = next(i for i, line in enumerate(lines) if line.startswith(message))
        assert warned < next(i for i, line in enumerate(lines) if line.startswith("epoch 1/"))
        assert "check its weights, the order of its classes, teacher.normalize and teacher.size" in lines[warned]
        assert "its inputs are normalized as the student's, with mean 0.1307 and std 0.3081" in lines[warned]
    assert [f"warning: {line}" for line in done.summary["teacher.warnings"]] == [
        line for line in logged if line.startswith("warning")
    ]


def test_a_teacher_with_nan_is_reported(tiny, tmp_path):
    logged = []
    measured(given(tiny, tmp_path, spoiled()), logged.append)
    assert any(line.startswith("warning: the teacher's logits are nan or inf on some images; check") for line in logged)


class Epochs:
    """Puts a line for each epoch into a list."""

    def __init__(self, lines):
        self.lines = lines

    def step(self, position, meter):
        pass

    def epoch(self, row, epochs):
        self.lines.append(f"epoch {row['epoch']}/{epochs}")


def test_a_comparison_measures_each_teacher_once_before_the_runs(tiny, tmp_path, image_counts):
    logged = []
    recipe = {**given(tiny, tmp_path), "compare": {"methods": ["none", "kd", "dr_kd"]}}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, reporting=Reporting(logged.append, Epochs(logged)))
    # The self-teacher's own training comes before; the student's epochs are those of two.
    first = next(i for i, line in enumerate(logged) if line.startswith("none: resnet8"))
    for label in ("teacher resnet8: test accuracy", "self-teacher resnet8: test accuracy"):
        assert next(i for i, line in enumerate(logged) if line.startswith(label)) < first
    assert sum(line.startswith("measuring ") for line in logged) == 2
    # Two measurements, and two trainings of two epochs with a teacher.
    assert sum(image_counts) == 2 * 90 + 2 * 2 * 60
    expected, predictions = by_hand(network(), tiny, "test")
    assert found.teacher_figure == pytest.approx(expected["accuracy"])
    kept = limbeck.runs.RunFolder(found.folder / "kd" / "seed-0").read_predictions()
    assert found.results[1].agreement == ((kept == predictions).double().mean().item(),)


def test_a_comparisons_table_has_a_row_for_each_measured_teacher(tiny, tmp_path):
    recipe = {**given(tiny, tmp_path), "compare": {"methods": ["none", "kd"]}}
    found = limbeck.compare(recipe, overrides={"data.validation": 0.5}, out=tmp_path / "c", jobs=1)
    expected, _ = by_hand(network(), tiny, "test")
    row = next(csv.DictReader((found.folder / "table.csv").open()))
    assert (row["method"], row["seeds"], row["accuracy_1"]) == ("teacher", "", "")
    assert float(row["accuracy_mean"]) == pytest.approx(expected["accuracy"])
    assert float(row["ece_mean"]) == pytest.approx(expected["ece"], abs=1e-5)
    assert float(row["nll_mean"]) == pytest.approx(expected["loss"], abs=1e-5)
    table = (found.folder / "table.md").read_text()
    cells = f"| teacher | {100 * expected['accuracy']:.1f} |  |  | {100 * expected['ece']:.1f} |"
    assert cells in table
    assert "- teacher resnet8: validation accuracy" in table
    assert "- warning: the teacher is near chance" in table
    assert [one.name for one in found.teachers] == ["teacher"]
    again = limbeck.compare(recipe, overrides={"data.validation": 0.5}, out=tmp_path / "c", jobs=1, resume=True)
    assert again.notes == found.notes


def test_figures_without_predictions_are_kept_and_read(tmp_path):
    path = tmp_path / "figures.safetensors"
    write_measured(path, Measured({"error": 0.25, "margin": 1.5}))
    assert read_measured(path) == Measured({"error": 0.25, "margin": 1.5})
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.35"))
    assert read_measured(path) is None


def test_the_line_of_a_teacher_has_the_tasks_metrics():
    held_out, train = Measured({"error": 0.25, "margin": 1.5, "rows": 48}), Measured({"error": 0.125, "rows": 30})
    wording = Wording(ErrorRate.metrics, "sentences")
    measured = MeasuredTeacher("teacher bert", {"train": train, "validation": held_out}, (), 1.0, wording, 1200)
    assert measured.line == (
        "teacher bert: validation error rate 25.00 %, mean margin 1.500, rows 48.000;"
        " on 1,200 of the student's training sentences error rate 12.50 %, rows 30.000"
    )
