"""Pages of real runs: what is stored for them, what they show, what they leave out, and bad input."""

import csv
import json
import shutil
from html import unescape

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.metrics import accuracy_score

import limbeck
from limbeck.errors import UserError
from limbeck.report.page import write_page
from limbeck.report.page.parts import Part
from limbeck.report.page.reading import read_results
from limbeck.report.page.samples import loaded

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def copied(compared, tmp_path):
    """A copy of the comparison, for tests that change it."""
    return shutil.copytree(compared.folder, tmp_path / "copied", ignore=shutil.ignore_patterns("checkpoints"))


def test_a_run_stores_what_a_page_needs(compared):
    folder = compared.folder / "lr_ds@random" / "seed-1"
    stored, summary = load_file(folder / "predictions.safetensors"), json.loads((folder / "summary.json").read_text())
    assert accuracy_score(stored["test.labels"], stored["test"]) == pytest.approx(summary["test.accuracy"])
    assert stored["test.confidence"].mean() == pytest.approx(summary["test.confidence"], abs=1e-6)
    taught = accuracy_score(stored["test.labels"], stored["teacher"])
    assert taught == pytest.approx(summary["teacher.test.accuracy"])
    selected = stored["selected"]
    assert selected[:, 0].sum() / selected[:, 1].sum() == pytest.approx(summary["selected"])
    np.testing.assert_array_equal(selected[:, 1], np.bincount(loaded(_recipe(compared)).train.labels))


def _recipe(compared):
    return read_results([compared.folder])[0].recipe


def test_a_comparison_has_its_page_with_the_table(compared):
    page = unescape((compared.folder / "report.html").read_text())
    found = {line["method"]: line for line in csv.DictReader((compared.folder / "table.csv").open())}
    for name in ("none", "kd", "lr_ds@random"):
        values = [100 * float(found[name][f"accuracy_{seed}"]) for seed in (1, 2, 3)]
        assert f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" in page
    for section in (
        "Learning curves",
        "Reliability",
        "Confused classes",
        "Selected samples",
        "Where the methods differ",
    ):
        assert f">{section}</h2>" in page
    assert "Not on this page" not in page
    assert f"limbeck compare {compared.folder}/recipe.yaml" in page
    assert len(page) < 1_000_000


def test_names_from_users_are_escaped(compared):
    page = (compared.folder / "report.html").read_text()
    assert SCRIPT not in page
    assert "<i>size" not in page
    assert "<b>blue" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_command_writes_the_same_page_again(compared, limbeck, tmp_path):
    code, out, _ = limbeck("report", compared.folder, "--out", tmp_path / "again.html")
    assert (code, out) == (0, f"page: {tmp_path}/again.html\n")
    assert (tmp_path / "again.html").read_text() == (compared.folder / "report.html").read_text()


def test_methods_of_a_comparison_are_told_apart_by_their_folders(copied):
    shutil.copytree(copied / "kd", copied / "kd@hot")
    (copied / "comparison.json").unlink()
    (found,) = read_results([copied])
    assert set(found.methods) == {"none", "kd", "kd@hot", "lr_ds@random"}
    assert found.title == "mlp on table, 90 training rows, 3 epochs"
    assert any(note.startswith("figures of the last epoch") for note in found.notes)


def test_runs_of_an_earlier_version_lack_sections_and_say_so(copied, page_of, tmp_path):
    (copied / "teachers.safetensors").unlink()
    (copied / "comparison.json").unlink()
    for path in copied.glob("*/*/predictions.safetensors"):
        save_file({"test": load_file(path)["test"]}, path)
    page = unescape(page_of(copied, out=tmp_path / "a.html"))
    assert "reliability diagrams: the runs do not store what it needs" in page
    # Labels are read from the data, which are still there.
    assert ">Confused classes</h2>" in page
    recipe = copied / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("rows.csv", "gone.csv"))
    page = unescape(page_of(copied, out=tmp_path / "b.html"))
    assert ">Confused classes</h2>" not in page
    assert "gone.csv" in page.split("Not on this page")[1]


def test_samples_of_other_data_are_not_shown(compared, rows):
    data = limbeck.data.load("table", root=str(rows), test_share=0.5, options={"label": "label"})
    assert not Part(read_results([compared.folder])[0], data).same_samples()


def test_code_of_the_user_is_not_imported(copied, page_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows_of_page.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    recipe = copied / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: table", "name: python:rows_of_page:rows"))
    page = unescape(page_of(copied, out=tmp_path / "a.html"))
    assert "'python:rows_of_page:rows', which is imported with --trust alone" in page
    assert not (tmp_path / "ran").exists()
    page_of(copied, out=tmp_path / "b.html", trust=True)
    assert (tmp_path / "ran").exists()


def test_single_runs_on_the_same_data_stand_side_by_side(compared, page_of, tmp_path):
    folders = [compared.folder / name / "seed-0" for name in ("none", "kd")]
    page = page_of(*folders, out=tmp_path / "both.html")
    assert "of 2 methods" in page
    assert page.count("limbeck run ") == 2
    several = page_of(compared.folder, folders[0], out=tmp_path / "several.html")
    assert several.count("<article") == 2
    alone = page_of(folders[1], out=tmp_path / "alone.html")
    assert "after epoch 3." in alone
    assert "gain over" not in alone


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{empty}"], "holds no complete run and no comparison, expected the folder of one"),
        (["{empty}/none"], "holds no complete run and no comparison, expected the folder of one"),
        (["{run}", "--out", "{empty}"], "is a folder, expected the name of a file such as"),
        (["{run}", "--out", "{empty}/no/a.html"], "there is no folder"),
        (["{run}", "--out", "{empty}/mine.html"], "is there and is no page of limbeck, expected another --out"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(compared, limbeck, tmp_path, words, expected):
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    places = {"empty": tmp_path, "run": compared.folder}
    code, out, err = limbeck("report", *(word.format(**places) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


def test_a_failed_method_and_a_run_that_was_stopped_are_named(copied, page_of, tmp_path):
    for seed in range(3):
        (copied / "kd" / f"seed-{seed}" / "summary.json").unlink()
    page = page_of(copied, out=tmp_path / "a.html")
    assert "kd/seed-2: is not complete and left out" in page
    assert "failed</td>" in page


def test_a_damaged_record_of_a_comparison_counts_as_missing(copied, page_of, tmp_path):
    record = {"title": 3, "methods": ["kd"], "notes": None, "failures": -1, "teachers": "x"}
    (copied / "comparison.json").write_text(json.dumps(record))
    page = page_of(copied, out=tmp_path / "a.html")
    assert all(f">{name}</" in page for name in ("none", "kd"))


@pytest.mark.parametrize("name", ["seed", "epoch", "training.seconds", "teacher.warnings"])
def test_damaged_figures_of_a_run_end_nothing(copied, page_of, tmp_path, name):
    file = copied / "kd" / "seed-0" / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: None}))
    left_out = "kd/seed-0: is not complete and left out" in page_of(copied, out=tmp_path / "a.html")
    assert left_out == (name in ("seed", "epoch"))


def test_images_are_shown_and_nothing_is_run(tiny, tmp_path, monkeypatch):
    done = limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run", overrides={"training.epochs": 1})
    monkeypatch.setattr(torch.nn.Module, "__call__", None)
    page = write_page([done.folder]).read_text()
    assert page.count("data:image/png;base64,") > 5
    monkeypatch.undo()
    (done.folder / "predictions.safetensors").write_bytes(b"damaged")
    assert "sample images" in write_page([done.folder]).read_text().split("Not on this page")[1]


def test_masks_have_the_iou_and_confusion_of_classes(tmp_path):
    small = {"data.train_limit": 8, "data.test_limit": 4, "training.epochs": 1, "training.batch_size": 4}
    done = limbeck.run("segmentation_quickstart", overrides={**small, "method": "none"}, out=tmp_path / "run")
    page = unescape(write_page([done.folder]).read_text())
    assert "IoU (%) of each class" in page
    assert ">Confused classes</h2>" in page
    assert "Truth and predictions of none, seed 0" in page
    assert "agreement with the teacher: no network teacher was measured" in page


def test_a_folder_of_no_name_is_refused():
    with pytest.raises(UserError, match="got no folder"):
        write_page([])
