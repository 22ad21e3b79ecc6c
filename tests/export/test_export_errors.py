"""What cannot be exported is refused in one line, and no file is left."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import limbeck
from limbeck.export import export_student
from limbeck.export.deployed import plan_of
from limbeck.export.entrances import AsTheyAre, FromCells, FromPixels
from limbeck.export.inputs import random_inputs
from limbeck.export.programs import exported_program, write_program
from limbeck.export.running import program_runner
from limbeck.export.subject import read_subject
from limbeck.export.verifying import check, verify
from limbeck.students import Student
from limbeck.tasks import Detection

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onxx"}, "unknown format 'onxx'; did you mean 'onnx'? Valid: onnx, safetensors, torch-export"),
        ({"result": "scores"}, "unknown result 'scores'"),
        ({"pixels": "int8"}, "unknown kind of pixels 'int8'"),
        ({"tolerance": float("nan")}, "tolerance: got nan, expected a number of at least 0"),
        ({"calibration_samples": 0}, "calibration: got 0, expected a whole number of at least 1"),
        ({"format": "torch-export", "int8": True}, "int8: got the format torch-export, expected onnx"),
        ({"format": "safetensors", "result": "classes"}, "safetensors: holds weights, to which limbeck.load adds"),
        ({"out": "table.pt2"}, "out: got table.pt2, expected a name that ends in .onnx"),
        ({"out": "gone/table.onnx"}, "gone/table.onnx: the folder gone does not exist, expected one that does"),
    ],
)
def test_settings(table_run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(limbeck.UserError) as error:
        export_student(table_run.folder, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_file_further_from_pytorch_than_the_bound_is_not_written(photo_run, tmp_path, command):
    """Pixels in [0, 1] are normalized by other roundings than those of 0 to 255."""
    options = ["--format", "torch-export", "--preprocessing", "--pixels", "float", "--out", str(tmp_path / "p.pt2")]
    code, _, err = command("export", str(photo_run.folder), *options, "--tolerance", "0")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected at most 0 (--tolerance); no file is written" in err
    assert not (tmp_path / "p.pt2").exists()


def test_a_file_that_is_there_stays(table_run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables.pt2").write_text("mine")
    code, _, err = command("export", str(table_run.folder), "--format", "torch-export")
    assert (code, (tmp_path / "tables.pt2").read_text()) == (2, "mine")
    assert err == "limbeck: tables.pt2: exists already, expected another --out, or --overwrite to replace it\n"
    code, out, err = command("export", str(table_run.folder), "--format", "torch-export", "--overwrite")
    assert (code, err) == (0, "")
    assert "verified on 32 samples of the test split, in batches of 1, 3, 7, 21: largest difference" in out
    assert program_runner(tmp_path / "tables.pt2")([torch.zeros(2, 4)]).shape == (2, 3)
    student = table_run.folder / "student.safetensors"
    code, _, err = command("export", str(student), "--format", "safetensors", "--out", str(student), "--overwrite")
    assert (code, "is the student itself, expected another --out" in err) == (2, True)


def test_a_folder_that_cannot_be_written(table_run, tmp_path, monkeypatch):
    # The superuser, as whom tests may run, can write everywhere.
    monkeypatch.setattr("limbeck.export.places.os.access", lambda path, mode: False)
    with pytest.raises(limbeck.UserError, match=r"t\.onnx: cannot be written \(no permission for "):
        export_student(table_run.folder, tmp_path / "t.onnx")


def test_a_run_that_is_not_complete(table_run, tmp_path, copied, command):
    code, _, err = command("export", str(tmp_path))
    assert (code, "no summary.json there, expected the folder of a complete run" in err) == (2, True)
    folder = copied(table_run)
    (folder / "summary.json").unlink()
    code, _, err = command("export", str(folder))
    assert (code, "no summary.json there, expected the folder of a complete run" in err) == (2, True)
    code, _, err = command("speed", str(folder))
    assert (code, "no summary.json there" in err) == (2, True)


def test_a_missing_package_names_its_extra(table_run, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for name in ("export", "speed"):
        code, _, err = command(name, str(table_run.folder))
        assert code == 2
        assert "needs the package onnxscript, which is missing, expected pip install 'limbeck[export]'" in err


def test_without_the_data_random_inputs_have_to_be_asked_for(table_run, text_run, photo_run, tmp_path, copied):
    lone = (copied(table_run) / "student.safetensors").rename(tmp_path / "lone.safetensors")
    with pytest.raises(limbeck.UserError) as error:
        export_student(lone, tmp_path / "lone.pt2", format="torch-export")
    assert "cannot be verified on real samples" in str(error.value)
    assert "--random-inputs" in str(error.value)
    done = export_student(lone, tmp_path / "lone.pt2", format="torch-export", random_inputs=True)
    assert (done.verified.inputs, done.verified.samples) == ("random inputs", 75)
    assert random_inputs(read_subject(photo_run.folder), 5).shape == (5, 3, 16, 16)
    given = random_inputs(read_subject(text_run.folder), 3)
    assert len(given["input_ids"]) == 3
    assert given["input_ids"].shape == given["attention_mask"].shape


def test_preparations_that_are_no_tensors(text_run, tmp_path):
    with pytest.raises(limbeck.UserError, match="preprocessing: the preparation of texts is no computation of tensors"):
        export_student(text_run.folder, tmp_path / "text.onnx", preprocessing=True)


def test_recurrent_layers_take_texts_of_one_length(text_run):
    student = limbeck.load(text_run.folder)
    network = limbeck.models.create("bilstm", num_classes=3, facts={"vocabulary_size": 500}, width=4, hidden=4).eval()
    plan = plan_of(replace(student, network=network), random_inputs(read_subject(text_run.folder), 4))
    with pytest.raises(limbeck.UserError, match="of the axis length it takes one size alone, as recurrent layers do"):
        exported_program(plan)


def test_a_file_that_computes_something_else_is_refused(table_run, tmp_path):
    """The verification finds one changed weight."""
    subject = read_subject(table_run.folder)
    plan = plan_of(subject.student, subject.batch("test", 4).inputs)
    other = limbeck.load(table_run.folder)
    with torch.no_grad():
        next(other.network.parameters())[0, 0] += 0.5
    write_program(exported_program(plan_of(other, subject.batch("test", 4).inputs)), tmp_path / "other.pt2", {})
    inputs = lambda size: subject.batch("test", size).inputs  # noqa: E731
    verified = verify(plan, program_runner(tmp_path / "other.pt2"), inputs, (1, 7), "samples")
    assert verified.difference > 1e-3
    with pytest.raises(limbeck.UserError, match="largest difference"):
        check(verified, 1e-4)
    alike = program_runner(tmp_path / "other.pt2")
    nothing = verify(plan, lambda given: alike(given) * float("nan"), inputs, (3, 1), "samples")
    with pytest.raises(limbeck.UserError, match="largest difference nan"):
        check(nothing, 1e-4)
    with pytest.raises(limbeck.UserError, match=r"output of 3 samples is \(3,\) in the file and \(3, 3\) in PyTorch"):
        verify(plan, lambda given: alike(given)[:, 0], inputs, (3,), "samples")


def test_classes_count_by_their_logits(table_run):
    """Another class than PyTorch's is as wrong as its logit is below the largest."""
    subject = read_subject(table_run.folder)
    plan = plan_of(subject.student, subject.batch("test", 4).inputs, result="classes")
    inputs = subject.batch("test", 5).inputs
    logits = plan.expected_logits(inputs)
    ranked = logits.sort(dim=1, descending=True)
    found = verify(plan, lambda given: ranked.indices[:, 1], lambda size: inputs, (5,), "samples")
    assert found.difference == pytest.approx(float((ranked.values[:, 0] - ranked.values[:, 1]).max()))
    assert verify(plan, lambda given: ranked.indices[:, 0], lambda size: inputs, (5,), "samples").difference == 0


def test_detectors_are_refused():
    network = limbeck.models.create("small_detector", num_classes=2, width=8)
    student = Student(Path("student.safetensors"), "small_detector", network, ("a", "b"), Detection(2))
    with pytest.raises(limbeck.UserError, match="got a student of task 'detection', expected classification"):
        plan_of(student, {"images": [torch.zeros(3, 64, 64)]})


def test_entrances_undo_what_they_do(table_run):
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for kind in ("uint8", "float"):
        entrance = FromPixels([0.4], [0.3], kind)
        given = pixels if kind == "uint8" else pixels.float() / 255
        assert torch.equal(entrance.given(entrance(given))[0], given)
    fitted = read_subject(table_run.folder).student.preparation.fitted
    cells = torch.tensor([[1.5, 2004.0]], dtype=torch.float64), torch.tensor([[1]])
    numbers, places = FromCells(fitted).given(FromCells(fitted)(*cells))
    torch.testing.assert_close(numbers, cells[0], rtol=1e-6, atol=0)
    assert torch.equal(places, cells[1])
    with pytest.raises(limbeck.UserError, match="takes something else than tensors"):
        AsTheyAre({"images": [torch.zeros(1)]})
