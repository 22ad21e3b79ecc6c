"""Predictions of float numbers, such as boxes with scores, are stored as they are and compared with no others."""

import torch

from limbeck.build.measured_store import read_measured, write_measured
from limbeck.runs.compare import _agreement
from limbeck.runs.folder import RunFolder
from limbeck.tasks.metrics import Measured

BOXES = torch.tensor([[[0.5, 1.0, 2.25, 3.0, 1.0, 0.75], [torch.nan] * 6]])


def test_a_run_keeps_them(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_predictions(BOXES)
    torch.testing.assert_close(folder.read_predictions(), BOXES, equal_nan=True)
    assert _agreement([folder], BOXES) is None
    folder.write_predictions(torch.tensor([1, 2]))
    assert folder.read_predictions().dtype == torch.int32
    assert _agreement([folder], torch.tensor([1, 0])) == (0.5,)


def test_a_measured_teacher_keeps_them(tmp_path):
    write_measured(tmp_path / "teacher", Measured({"map": 0.5}, BOXES))
    read = read_measured(tmp_path / "teacher")
    torch.testing.assert_close(read.predictions, BOXES, equal_nan=True)
    assert read.values == {"map": 0.5}
