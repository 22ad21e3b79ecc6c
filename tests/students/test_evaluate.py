"""``limbeck evaluate``: the figures of runs again, classes by name, other data, and what is refused."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support
from torch.nn import functional as F

import limbeck
from limbeck.build.context import Context
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe
from limbeck.runs.folder import RunFolder
from limbeck.students.collecting import Collector
from limbeck.tasks import MultiLabel, Segmentation
from text_files import rows, write_csv

RUNS = ("photo_run", "lowered_run", "text_run", "table_run", "mask_run", "label_run", "box_run")


def data_of(run):
    return Context(load_recipe(RunFolder(run.folder).read_recipe())).data


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("fixture", RUNS)
def test_the_figures_of_the_run(fixture, request):
    run = request.getfixturevalue(fixture)
    found = limbeck.evaluate(run.folder)
    expected = {key.removeprefix("test."): value for key, value in run.summary.items() if key.startswith("test.")}
    assert found.figures == expected
    assert found.samples == len(data_of(run).test)
    assert found.line.startswith(run.task.primary.title)


def test_classes_calibration_and_worst_samples_by_scikit_learn(photo_run):
    data, student = data_of(photo_run), limbeck.load(photo_run.folder)
    found = limbeck.evaluate(photo_run.folder, worst=4)
    truth, probabilities = data.test.labels.numpy(), student.predict(data.test.paths).numpy()
    predicted = probabilities.argmax(axis=1)
    assert np.array_equal(found.matrix, confusion_matrix(truth, predicted, labels=[0, 1, 2]))
    columns = precision_recall_fscore_support(truth, predicted, labels=[0, 1, 2], zero_division=np.nan)
    for row, *values in zip(found.classes, *columns, strict=True):
        expected = dict(zip(("precision", "recall", "f1", "samples"), values, strict=True))
        assert row == pytest.approx({name: value for name, value in expected.items() if not np.isnan(value)})
    confidence, right = probabilities.max(axis=1), predicted == truth
    assert sum(entry.samples for entry in found.calibration.bins) == len(truth)
    for entry in found.calibration.bins:
        inside = (confidence >= entry.lower) & (confidence < entry.upper)
        assert entry.samples == inside.sum()
        assert entry.confidence == pytest.approx(confidence[inside].mean(), abs=1e-6)
        assert entry.accuracy == pytest.approx(right[inside].mean(), abs=1e-6)
    assert found.calibration.ece == pytest.approx(found.figures["ece"], abs=1e-6)
    losses = -np.log(probabilities[np.arange(len(truth)), truth])
    order = np.argsort(-losses)[:4]
    assert [row["sample"] for row in found.worst] == [str(data.test.paths[place]) for place in order]
    assert [row["loss"] for row in found.worst] == pytest.approx(losses[order].tolist(), abs=1e-5)
    wrong = [(pair.true, pair.predicted, pair.samples) for pair in found.confused]
    assert sum(count for *_, count in wrong) == (~right).sum()


def test_maps_by_pixels():
    task = Segmentation(3)
    task.class_names = ("sky", "road", "tree")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, 4, 6, generator=generator)
    masks = torch.randint(3, (5, 4, 6), generator=generator).masked_fill(torch.arange(6) == 0, 255)
    masks[4] = 255
    collector = Collector(task)
    collector.update(logits, masks)
    found = collector.collected()
    counted = masks != 255
    expected = confusion_matrix(masks[counted], logits.argmax(dim=1)[counted])
    assert np.array_equal(found.matrix, expected)
    ious = np.diag(expected) / (expected.sum(0) + expected.sum(1) - np.diag(expected))
    assert [row["iou"] for row in found.classes] == pytest.approx(ious.tolist())
    losses = F.cross_entropy(logits, masks, ignore_index=255, reduction="none")
    assert found.samples[1]["loss"] == pytest.approx(float(losses[1][counted[1]].mean()))
    assert found.samples[4] == {}


def test_several_classes_each_by_scikit_learn():
    task = MultiLabel(2)
    task.class_names = ("cat", "dog")
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(30, 2, generator=generator)
    labels = torch.randint(2, (30, 2), generator=generator)
    labels[3] = -1
    labels[5, 0] = -1
    collector = Collector(task)
    for part in (slice(0, 20), slice(20, 30)):
        collector.update(logits[part], labels[part])
    found = collector.collected()
    for place, row in enumerate(found.classes):
        known = labels[:, place] >= 0
        true, scores = labels[known, place].numpy(), logits[known, place].numpy()
        precision, recall, f1, _ = precision_recall_fscore_support(true, scores > 0, average="binary")
        expected = {"precision": precision, "recall": recall, "f1": f1, "samples": true.sum()}
        assert row == pytest.approx({**expected, "ap": average_precision_score(true, scores)})
    assert found.samples[3] == {}
    loss = F.binary_cross_entropy_with_logits(logits[5, 1:], labels[5, 1:].float())
    assert found.samples[5]["loss"] == pytest.approx(float(loss))


def test_another_folder_with_fewer_classes_in_another_order(photo_run, photos, tmp_path):
    """Of the sorted names ``dog`` and ``eel`` the first is class 0 there, and 1 of the student."""
    for name in ("dog", "eel"):
        shutil.copytree(photos / "test" / name, tmp_path / "new" / name)
    overrides = {"data.name": "image_folder", "data.root": str(tmp_path / "new"), "data.size": 60}
    found = limbeck.evaluate(photo_run.folder / "student.safetensors", overrides=overrides, split="all")
    own = limbeck.evaluate(photo_run.folder)
    assert found.samples == 10
    # Prepared as the student records, whatever the size of the data.
    assert found.matrix[1:] == own.matrix[1:]
    assert found.matrix[0] == [0, 0, 0]
    (tmp_path / "new" / "eel").rename(tmp_path / "new" / "fox")
    with pytest.raises(UserError, match="image_folder has 1 classes that the student lacks .'fox'., expected some of"):
        limbeck.evaluate(photo_run.folder, overrides=overrides)


def test_other_texts_by_the_students_own_tokenizer(text_run, tmp_path):
    # Other words, of which a tokenizer of their own would make other tokens.
    pairs = [(f"zebra {text}", label) for text, label in rows(30)]
    write_csv(tmp_path / "new" / "train.csv", pairs)
    write_csv(tmp_path / "new" / "test.csv", pairs[:9])
    student = limbeck.load(text_run.folder)
    found = limbeck.evaluate(student, overrides={"data.name": "text", "data.root": str(tmp_path / "new")})
    truth = torch.tensor([student.classes.index(label) for _, label in pairs[:9]])
    predicted = student.predict([text for text, _ in pairs[:9]])
    assert found.figures["loss"] == pytest.approx(float(F.nll_loss(predicted.log(), truth)), abs=1e-6)


def test_other_rows_by_the_students_own_numbers(table_run, tmp_path):
    root = Path(RunFolder(table_run.folder).read_recipe()["data"]["root"])
    lines = (root / "test.csv").read_text().splitlines()
    # Numbers of another spread, in another order of columns.
    cells = [line.split(",") for line in lines[1:]]
    (tmp_path / "new.csv").write_text("kind,color,size\n" + "".join(f"{k},{c},{float(s) * 5}\n" for s, c, k in cells))
    overrides = {"data.root": str(tmp_path / "new.csv")}
    found = limbeck.evaluate(table_run.folder, overrides=overrides, split="all")
    predicted = limbeck.load(table_run.folder).predict(tmp_path / "new.csv").argmax(dim=1).tolist()
    truth = [("big", "mid", "small").index(kind) for _, _, kind in cells]
    assert np.array_equal(found.matrix, confusion_matrix(truth, predicted, labels=[0, 1, 2]))


def test_a_temperature_changes_the_calibration_alone(photo_run):
    student = limbeck.load(photo_run.folder)
    plain = limbeck.evaluate(student, RunFolder(photo_run.folder).read_recipe())
    warm = limbeck.evaluate(student.with_temperature(4.0), RunFolder(photo_run.folder).read_recipe())
    assert warm.matrix == plain.matrix
    assert warm.calibration.confidence < plain.calibration.confidence
    assert "temperature 4" in warm.lines[0]


def test_the_command_and_its_files(limbeck, photo_run, tmp_path):
    out = tmp_path / "evaluated"
    code, printed, err = limbeck("evaluate", photo_run.folder, "--out", out, "--worst", 2)
    assert (code, err) == (0, "")
    for part in ("test: 15 images", "accuracy", "classes:", "calibration: ECE", "largest losses:"):
        assert part in printed
    values = json.loads((out / "evaluation.json").read_text())
    assert values["figures"]["accuracy"] == photo_run.summary["test.accuracy"]
    assert [row["class"] for row in rows_of(out / "classes.csv")] == ["cat", "dog", "eel"]
    assert [next(iter(row)) for row in rows_of(out / "confusion.csv")] == ["true \\ predicted"] * 3
    assert [row["sample"] for row in rows_of(out / "worst.csv")] == [row["sample"] for row in values["worst"]]
    assert limbeck("evaluate", photo_run.folder, "--out", out, "-q")[1] == f"test {_line(printed)}\n"
    (out / "notes.md").write_text("mine")
    code, _, err = limbeck("evaluate", photo_run.folder, "--out", out)
    assert (code, "holds 'notes.md', which is no file of an evaluation" in err) == (2, True)


def _line(printed):
    return printed.splitlines()[1].strip()


def test_a_teacher_that_a_run_has_trained(limbeck, tiny, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps({**tiny, "method": "kd"}))
    code, _, err = limbeck("evaluate", recipe, "--teacher")
    assert (code, "teacher: is not trained yet" in err) == (2, True)
    assert limbeck("run", recipe, "--out", tmp_path / "run", "training.epochs=1")[0] == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for target in (recipe, tmp_path / "run"):
        code, out, err = limbeck("evaluate", target, "--teacher", "-q", "training.epochs=1")
        assert code == 0, err
        assert out.startswith(f"test accuracy {100 * summary['teacher.test.accuracy']:.2f} %")
    code, _, err = limbeck("evaluate", recipe, "--teacher", "method=none")
    assert (code, "has no network as its teacher" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["quickstart"], "is no run folder and no student.safetensors; a recipe is evaluated with --teacher"),
        (["RUN", "--split", "dev"], "split: got 'dev', expected one of test, validation, train, all"),
        (["RUN", "--split", "validation"], "split: got 'validation', but image_folder has none"),
        (["RUN", "training.epochs=3"], "training.epochs: got one for a student, expected keys of data alone"),
        (["RUN", "a.yaml", "b.yaml"], "b.yaml: expected one recipe at most"),
        (["RUN", "--worst", "-1"], "worst: got -1"),
        (["RUN", "data.name=iris"], "data: got iris, which has rows of 4 numbers, expected images"),
        (["COPY"], "does not lie in a run folder, expected data beside it, such as data.name=image_folder"),
    ],
)
def test_what_is_refused(limbeck, photo_run, tmp_path, words, expected):
    shutil.copy(photo_run.folder / "student.safetensors", tmp_path)
    places = {"RUN": photo_run.folder, "COPY": tmp_path / "student.safetensors"}
    words = [places.get(word, word) for word in words]
    if "data.name=iris" in words:
        words += ["data.root=null", "data.size=null", "data.augment={}"]
    code, out, err = limbeck("evaluate", *words)
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1


def test_data_of_another_task(photo_run, mask_run, tmp_path):
    recipe = RunFolder(mask_run.folder).read_recipe()
    with pytest.raises(UserError, match="whose samples have a class at each position, expected task 'segmentation'"):
        limbeck.evaluate(replace(limbeck.load(photo_run.folder), classes=("sky", "road", "tree")), recipe)


def test_many_classes_are_shortened(photo_run):
    found = limbeck.evaluate(photo_run.folder)
    names, classes = [f"class {n}" for n in range(30)], [{"samples": 2, "recall": n / 30} for n in range(30)]
    many = replace(found, class_names=tuple(names), classes=tuple(classes), confused=())
    assert "classes, the 20 lowest of 30:" in many.lines
    assert any("class 0 " in line for line in many.lines)
    assert not any("class 29" in line for line in many.lines)
