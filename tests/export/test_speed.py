"""What networks take on this machine: measured in processes of their own."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import limbeck
from limbeck.errors import RunError
from limbeck.export import Speed, Speeds, Timing, save_speed_plot
from limbeck.export.subject import read_subject
from limbeck.export.teacher import teacher_of
from limbeck.export.timed_process import timed
from limbeck.export.timing import time_file
from limbeck.tasks import Metric

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


@pytest.fixture
def timed_by_kind(monkeypatch):
    """Time one file of each kind, for each takes a process of its own that imports its library."""
    known = {}

    def timing(file, inputs, **options):
        if file.suffix not in known:
            known[file.suffix] = time_file(file, inputs, **options)
        return known[file.suffix]

    monkeypatch.setattr("limbeck.export.speed.time_file", timing)


@pytest.mark.usefixtures("timed_by_kind")
def test_the_table_of_a_run_and_its_teacher(table_run, tmp_path, command):
    options = ["--seconds", "0.01", "--threads", "1", "--markdown", "--quiet", "--plot", str(tmp_path / "speed.png")]
    code, out, err = command("speed", str(table_run.folder), *options)
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("| ")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    forms = ["PyTorch float32", "ONNX float32", "ONNX int8", "PyTorch float32", "ONNX float32"]
    assert [row["form"] for row in cells] == forms
    assert [row["student or teacher"] for row in cells] == ["tables"] * 3 + ["teacher of tables"] * 2
    summary = table_run.summary
    reached = [float(row["test accuracy (%)"]) for row in cells]
    for place, key in ((0, "test.accuracy"), (1, "test.accuracy"), (4, "teacher.test.accuracy")):
        assert reached[place] == pytest.approx(100 * summary[key], abs=0.006)
    # 4 inputs to 8 and 3 classes, with biases; the product of weights and inputs alone is counted as work.
    student, teacher = (sum(p.numel() for p in made.parameters()) for made in networks(table_run))
    assert (cells[0]["parameters"], cells[3]["parameters"]) == (f"{student:,}", f"{teacher:,}")
    assert all(float(row["latency (ms)"]) <= float(row["p95 (ms)"]) for row in cells)
    assert "tables, ONNX int8: " in out
    assert "times as fast as the teacher (ONNX float32)" in out
    assert (tmp_path / "speed.png").stat().st_size > 1000


def networks(run):
    subject = read_subject(run.folder)
    return subject.student.network, teacher_of(subject)


def test_runs_of_a_comparison_are_called_by_their_method(table_run):
    subject = read_subject(table_run.folder)
    assert subject.name == "tables"
    assert replace(subject, folder=Path("runs/compare/kd@hot/seed-0")).name == "kd@hot-seed-0"
    assert replace(subject, folder=None).name == "student"


def test_the_teacher_is_that_of_the_run(table_run):
    subject = read_subject(table_run.folder)
    teacher, batches = teacher_of(subject), list(subject.test_batches())
    right = sum(int((teacher(batch.inputs).argmax(dim=1) == batch.targets).sum()) for batch in batches)
    assert right / 21 == pytest.approx(table_run.summary["teacher.test.accuracy"])


def test_teachers_that_are_not_there(table_run, text_run, copied):
    with pytest.raises(limbeck.UserError, match="the method none has no teacher"):
        teacher_of(read_subject(text_run.folder))
    folder = copied(table_run)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace(str(table_run.folder.parent / "cache"), str(folder / "gone")))
    with pytest.raises(limbeck.UserError, match="its file is gone, and it would be trained again"):
        teacher_of(read_subject(folder))


def test_times_are_those_of_the_batches():
    """A network that sleeps a millisecond, and half of that for each sample."""
    found = timed(lambda size: time.sleep(0.001 + 0.0005 * size), [1, 8], 0.05)
    assert 0.0015 <= found["latency"] <= found["latency_p95"]
    assert found["batch"] == 8
    assert found["throughput"] <= 8 / 0.005
    assert found["memory"] > 1e6


def test_a_process_that_fails_is_one_line(tmp_path):
    (tmp_path / "broken.onnx").write_text("nothing")
    with pytest.raises(RunError, match=r"the process that times the network failed with 1 \(.*broken\.onnx"):
        time_file(tmp_path / "broken.onnx", {"input": torch.zeros(1, 2)}, threads=1, seconds=0.01)


def test_plots(tmp_path):
    timing = Timing(0.001, 0.002, 10**8, 900.0, 8)
    row = Speed("kd", "resnet8", "onnx", None, timing, 10**5, 10**5, 10**8)
    metric = Metric("accuracy", "accuracy")
    with pytest.raises(limbeck.UserError, match="plot: no network has a figure on the test split"):
        save_speed_plot(Speeds((row,), metric, ()), tmp_path / "speed.png")
    with pytest.raises(limbeck.UserError, match=r"the folder .*gone does not exist"):
        save_speed_plot(Speeds((row,), metric, ()), tmp_path / "gone" / "speed.png")


def test_runs_of_several_tasks(table_run, mask_run, command):
    code, _, err = command("speed", str(table_run.folder), str(mask_run.folder))
    assert code == 2
    assert "got runs of several tasks, classification (tables), segmentation (mask); expected one task" in err


@pytest.mark.parametrize("words", [["--threads", "0"], ["--seconds", "0"], ["--calibration", "0"]])
def test_numbers_above_zero(table_run, command, words):
    code, _, err = command("speed", str(table_run.folder), *words)
    assert code == 2
    assert "expected numbers above 0" in err or "expected a whole number of at least 1" in err
