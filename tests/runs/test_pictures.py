"""What a run of classification draws: which classes its student confuses, beside the teacher's accuracy."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

import limbeck
from limbeck.runs import pictures
from limbeck.runs.folder import RunFolder

pytestmark = pytest.mark.pictures


@pytest.fixture
def drawn(monkeypatch):
    """The figures of each picture, which is drawn all the same."""
    kept, draw = [], pictures.save_class_picture

    def keep(figures, path, *, title):
        kept.append((figures, title))
        return draw(figures, path, title=title)

    monkeypatch.setattr(pictures, "save_class_picture", keep)
    return kept


def check(done, figures, data):
    predictions = RunFolder(done.folder).read_predictions()
    truth = data.test.labels
    labels = range(len(data.classes))
    np.testing.assert_array_equal(figures.matrix, confusion_matrix(truth, predictions, labels=labels))
    assert figures.matrix.trace() / figures.matrix.sum() == pytest.approx(done.summary["test.accuracy"])
    assert (done.folder / "classes.png").read_bytes()[:4] == b"\x89PNG"
    return figures.matrix.sum(axis=1)


def test_images_have_the_students_and_the_teachers_accuracy_of_each_class(tiny, tmp_path, drawn):
    done = limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run")
    ((figures, title),) = drawn
    counts = check(done, figures, limbeck.data.load("mnist", root=tiny["data"]["root"]))
    taught = np.nansum(figures.teacher * counts) / counts.sum()
    assert taught == pytest.approx(done.summary["teacher.test.accuracy"])
    assert title == f"kd: resnet8 on mnist, test accuracy {100 * done.summary['test.accuracy']:.2f} %"


def test_texts_tables_and_runs_without_a_teacher_have_one_too(tmp_path, drawn):
    table = {"training.epochs": 3}
    texts = {"training.epochs": 2, "data.train_limit": 240, "data.test_limit": 60}
    for name, overrides in (("table_quickstart", table), ("text_quickstart", texts)):
        done = limbeck.run(name, overrides={**overrides, "method": "none"}, out=tmp_path / name)
        figures, _ = drawn.pop()
        assert figures.teacher is None
        assert figures.matrix.trace() / figures.matrix.sum() == pytest.approx(done.summary["test.accuracy"])
        assert (done.folder / "classes.png").is_file()


def test_a_teacher_that_was_not_measured_on_the_test_split_is_left_out(tiny, tmp_path, drawn):
    limbeck.run({**tiny, "method": "kd"}, overrides={"data.validation": 0.2}, out=tmp_path / "run")
    assert drawn[0][0].teacher is None


def test_samples_of_several_classes_have_no_picture(tiny):
    data = limbeck.data.load("mnist", root=tiny["data"]["root"])
    assert pictures.class_figures(data, torch.zeros(30, 10)) is None


def test_the_picture_is_a_file_of_the_run(tiny, tmp_path):
    done = limbeck.run(tiny, out=tmp_path / "run")
    folder = RunFolder(done.folder)
    folder.check_no_foreign_files()
    folder.clear()
    assert not (done.folder / "classes.png").exists()
