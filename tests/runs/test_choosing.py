"""Runs that keep the best epoch, end early and fit a temperature by the validation split; stopped and resumed alike."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import log_loss

import limbeck
from limbeck import models
from limbeck.build.context import Context
from limbeck.data import Views
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about
from limbeck.report.page import write_page
from limbeck.runs import Reporting, RunFolder, load_recipe
from limbeck.runs.choice_notes import choice_notes
from limbeck.runs.resuming import meaning
from limbeck.tasks import Classification
from limbeck.training import TrainingSettings
from stopped_runs import assert_same_files, assert_same_run, log, metrics, stopping

TIMES = ("seconds", "training.seconds")


@pytest.fixture
def choosing(tiny):
    choice = {"keep": "best", "patience": 2, "temperature_scaling": True, "epochs": 5, "schedule": "constant"}
    data = {**tiny["data"], "validation": 0.4}
    return {**tiny, "data": data, "training": {**tiny["training"], **choice}}


def summary(folder):
    return {key: value for key, value in json.loads((folder / "summary.json").read_text()).items() if key not in TIMES}


def test_a_run_reports_the_student_that_it_keeps(choosing, tmp_path):
    whole = limbeck.run(choosing, out=tmp_path / "whole")
    rows, found = metrics(whole.folder), whole.summary
    figures = [float(row["validation.accuracy"]) for row in rows]
    best = int(np.argmax(figures))
    assert (found["chosen_epoch"], found["chosen_by"]) == (best + 1, "validation accuracy")
    assert found["stopped_early"] == (len(rows) < 5) == (len(figures) - 1 - best >= 2)
    for name in ("test.accuracy", "validation.accuracy", "test.loss", "train.accuracy"):
        assert found[name] == float(rows[best][name])
    assert whole.line.startswith(f"{whole.figure} of epoch {best + 1}, the best of {len(rows)} on validation (")
    student, data = tmp_path / "whole" / "student.safetensors", Context(load_recipe(choosing)).data
    network = models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    models.load_weights(network, student)
    batch = next(Views(data.test, batch_size=30, mean=data.mean, std=data.std).epoch(0))
    with torch.no_grad():
        logits = network.eval()(batch.inputs).double()
    assert (logits.argmax(1) == batch.labels).double().mean().item() == pytest.approx(found["test.accuracy"])
    temperature = read_about(student)["temperature"]
    assert temperature == found["temperature"] != 1
    for key, divisor in (("test.loss", 1), ("test.scaled.loss", temperature)):
        expected = log_loss(batch.labels, (logits / divisor).softmax(1), labels=range(10))
        assert found[key] == pytest.approx(expected, rel=1e-5)
    assert found["validation.scaled.loss"] <= found["validation.loss"]
    assert found["temperature.rows"] == len(data.validation) == 20
    page, card = write_page([whole.folder]).read_text(), (whole.folder / "student.card.md").read_text()
    assert f"after epoch {best + 1}." in page
    assert "the epoch chosen on the validation split, on the test split" in page
    assert "drawn without their temperatures" in page
    for words in (">NLL scaled", f">{found['test.scaled.loss']:.3f}<", f">{100 * found['test.scaled.ece']:.1f}<"):
        assert words in page
    assert f"| NLL | {found['test.loss']:.3f} |" in card
    assert f"| NLL scaled | {found['test.scaled.loss']:.3f} |" in card
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(choosing, out=tmp_path / "stopped", reporting=stopping(best + 1, of=5))
    resumed = limbeck.run(choosing, out=tmp_path / "stopped", resume=True)
    assert_same_run(resumed.folder, whole.folder)
    assert_same_files(*(run.folder / "predictions.safetensors" for run in (resumed, whole)))
    assert summary(resumed.folder) == summary(whole.folder)
    assert (resumed.folder / "student.safetensors").read_bytes() == student.read_bytes()


def test_without_a_choice_a_run_is_as_before(choosing, tiny, tmp_path):
    """The same epochs, whether the best of them is kept or not, and nothing more in the files of the last one."""
    plain = {**tiny, "data": choosing["data"]}
    last = limbeck.run(plain, out=tmp_path / "last")
    best = limbeck.run(plain, overrides={"training.keep": "best"}, out=tmp_path / "best")
    assert metrics(last.folder) == metrics(best.folder)
    assert best.summary.keys() - last.summary.keys() == {"chosen_by", "chosen_epoch"}
    assert "temperature" not in read_about(last.folder / "student.safetensors")
    assert last.line.startswith(f"{last.figure} after epoch 2 (")
    states = [torch.load(run.folder / "checkpoints" / "last" / "state.pt") for run in (last, best)]
    assert states[1].keys() - states[0].keys() == {"best"}


def test_a_temperature_changes_no_network_that_loads_the_file(choosing, tmp_path):
    done = limbeck.run(choosing, overrides={"training.epochs": 1}, out=tmp_path / "run")
    path, without = done.folder / "student.safetensors", tmp_path / "without.safetensors"
    about = {key: value for key, value in read_about(path).items() if key != "temperature"}
    save_file(load_file(path), without, metadata={"limbeck": json.dumps(about)})
    made = []
    for file in (path, without):
        role = {**choosing["student"], "weights": str(file)}
        context = Context(load_recipe({**choosing, "student": role, "teacher": role, "method": "kd"}))
        made.append([context.student(), context.teacher_network("teacher")])
    for one, other in zip(*made, strict=True):
        assert one.notes == other.notes
        states = one.module.state_dict(), other.module.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    trained = load_file(path)
    assert all(torch.equal(value, trained[name]) for name, value in made[0][1].module.state_dict().items())


def test_a_run_that_ended_early_stays_complete(choosing, tmp_path):
    ends = {**choosing["training"], "optimizer": {"name": "sgd", "lr": 1e-9}, "patience": 1, "epochs": 3}
    recipe = {**choosing, "training": ends}
    done = limbeck.run(recipe, out=tmp_path / "run")
    assert (done.summary["epoch"], done.summary["stopped_early"], done.summary["chosen_epoch"]) == (2, True, 1)
    assert "training.patience: ended after epoch 2 of 3: 1 evaluations without a better" in log(done.folder)
    lines, before = [], summary(done.folder)
    more = {"training.epochs": 9}
    again = limbeck.run(recipe, overrides=more, out=tmp_path / "run", resume=True, reporting=Reporting(lines.append))
    assert lines == [f"{done.folder}: is complete already, ended early by training.patience"]
    assert again.summary["epoch"] == 2
    assert summary(done.folder) == before
    # Stopped between the end and the summary: nothing is trained again, the same is written.
    (done.folder / "summary.json").unlink()
    limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert summary(done.folder) == before
    for key, value in (("patience", 2), ("keep", "last"), ("evaluate_every", 2), ("temperature_scaling", False)):
        with pytest.raises(
            UserError, match=rf"^training\.{key}: the run in \S+ has .*, got {value}; expected the same"
        ):
            limbeck.run(recipe, overrides={f"training.{key}": value}, out=tmp_path / "run", resume=True)


def test_how_often_a_choice_is_measured_is_compared(choosing, tiny):
    def compared(recipe):
        return {key for key in meaning(load_recipe({**recipe, "method": "kd"})) if key.endswith("evaluate_every")}

    assert compared(tiny) == set()
    assert compared(choosing) == {"training.evaluate_every"}
    teacher = {**tiny["teacher"], "training": {**tiny["teacher"]["training"], "patience": 3}}
    assert compared({**tiny, "teacher": teacher}) == {"teacher.training.evaluate_every"}
    assert compared({**tiny, "teacher": {"members": [teacher, tiny["teacher"]]}}) == {
        "teacher.members.0.training.evaluate_every"
    }


def test_a_comparison_names_what_was_chosen_on_what(choosing, tmp_path):
    changes = {"compare.methods": "none", "compare.seeds": 2, "training.epochs": 3}
    ticks = []
    found = limbeck.compare(
        choosing, overrides=changes, out=tmp_path / "c", jobs=1, tick=lambda *tick: ticks.append(tick)
    )
    summaries = {
        name: [RunFolder(tmp_path / "c" / name / f"seed-{seed}").read_summary() for seed in (0, 1)]
        for name in ("none",)
    }

    def by_seed(key, form=str):
        return "; ".join(f"{name} {', '.join(form(s[key]) for s in each)}" for name, each in summaries.items())

    judged = "accuracy on 20 validation images, seed by seed"
    assert found.notes[:4] == (
        "figures of the epoch with the best validation accuracy, on all 30 test images, which nothing was chosen on",
        f"epochs kept by {judged}: {by_seed('chosen_epoch')}",
        f"trainings of at most 3 epochs, ended by 2 evaluations without a gain in {judged} after epoch:"
        f" {by_seed('epoch')}",
        "scaled: logits divided by one temperature a student, fitted by NLL on 20 validation images, seed by seed: "
        + by_seed("temperature", "{:.2f}".format),
    )
    assert found.title.endswith(", at most 3 epochs")
    assert ticks[-1] == (6, 6)
    columns = list(found.rows[0])
    assert columns[4:8] == ["ECE (%)", "NLL", "ECE scaled (%)", "NLL scaled"]
    (line,) = csv.DictReader((found.folder / "table.csv").open())
    for column, key in (("nll", "loss"), ("nll_scaled", "scaled.loss"), ("ece_scaled", "scaled.ece")):
        values = [s[f"test.{key}"] for s in summaries["none"]]
        assert float(line[f"{column}_mean"]) == pytest.approx(np.mean(values))


def test_without_a_choice_the_note_is_as_before(choosing):
    data, metric = Context(load_recipe(choosing)).data, Classification.metrics[0]
    (note,) = choice_notes(TrainingSettings(), metric, data, {"none": [{"epoch": 2}]})
    assert note == "figures of the last epoch on all 30 test images, which nothing was chosen on"
    note, *others = choice_notes(TrainingSettings(patience=3), metric, data, {"none": [{"epoch": 2}]})
    assert note.startswith("figures of the epoch after which a training ended, on all 30 test images")
    assert [line.rpartition(": ")[2] for line in others] == ["none 2"]


def test_teachers_keep_the_best_epoch_too(choosing, tmp_path):
    """The self-teacher as the student does, a live one by its own training, proxies of a selection never."""
    influence = {"method": "lr_ds", "method.scorer": "influence", "method.proxy_epochs": 2, "training.epochs": 3}
    own = limbeck.run({**choosing, "teacher": {"source": "self"}}, overrides=influence, out=tmp_path / "self")
    (weights,) = (tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")
    folder = weights.parent
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    kept = json.loads((folder / "summary.json").read_text())
    figures = [float(row["validation.accuracy"]) for row in rows]
    assert kept["chosen_epoch"] == kept["epoch"] == int(np.argmax(figures)) + 1
    assert kept["validation.accuracy"] == max(figures)
    assert "temperature" not in read_about(folder / "teacher.safetensors")
    assert f"epoch {kept['epoch']} of {len(rows)} is kept, the best validation accuracy" in log(own.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.validation": 0}, r"^training\.keep: got best, but mnist has no validation split; expected data\.val"),
        (
            {"data.validation": 0, "training.keep": "last", "training.patience": None},
            r"^training\.temperature_scaling: got true, but mnist has no validation split",
        ),
        (
            {
                "data.validation": 0,
                "method": "kd",
                "teacher.training.patience": 2,
                "training.keep": "last",
                "training.patience": None,
                "training.temperature_scaling": False,
            },
            r"^teacher\.training\.patience: got 2, but mnist has no validation split",
        ),
        ({"teacher.training.temperature_scaling": True}, r"^teacher\.training\.temperature_scaling: got true, but a"),
        ({"training.patience": 0}, r"^training\.patience: got 0"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(choosing, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        limbeck.run(choosing, overrides=changes, out=tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_detectors_have_no_temperature():
    options = {"train": 12, "test": 4, "side": 64}
    changes = {
        "training.temperature_scaling": True,
        "data.validation": 0.2,
        "data.options": options,
        "data.train_limit": None,
    }
    message = r"^training\.temperature_scaling: got true, but outputs of task 'detection' are no logits, expected false"
    with pytest.raises(UserError, match=message):
        limbeck.run("detection_quickstart", overrides=changes, out="nowhere")


def test_the_command(choosing, tmp_path, limbeck):
    import yaml

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(choosing))
    code, out, _ = limbeck("check", path)
    assert code == 0
    assert "of all 5 epochs; a run that training.patience ends early takes less" in out
    code, out, err = limbeck("run", path, "data.validation=0")
    assert code == 2
    assert err.count("\n") == 1
    assert "training.keep: got best" in err
