"""The picture of predicted boxes: what is drawn where, and what is refused."""

import pytest
import torch
from matplotlib.patches import Rectangle

from limbeck.data import load
from limbeck.data.boxes.splits import BoxSet
from limbeck.errors import UserError
from limbeck.report import boxes, save_boxes_picture
from limbeck.runs.pictures import save_picture
from limbeck.tasks.detection_figures import DetectionEvaluator


@pytest.fixture(scope="module")
def data():
    return load("boxes_sample", options={"train": 1, "test": 6, "side": 48})


def exact(split, score=0.9):
    return [{**target, "scores": torch.full((len(target["labels"]),), score)} for target in split.targets]


def rectangles(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_run_draws_what_was_measured(data, tmp_path):
    evaluator = DetectionEvaluator(data.classes)
    evaluator.update(exact(data.test), data.test.targets)
    path = save_picture(tmp_path, data, evaluator.compute())
    assert path == tmp_path / "boxes.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    first = path.read_bytes()
    save_picture(tmp_path, data, evaluator.compute())
    assert path.read_bytes() == first


def test_boxes_of_a_low_score_are_not_drawn(data):
    evaluator = DetectionEvaluator(data.classes)
    evaluator.update(exact(data.test), data.test.targets)
    measured = evaluator.compute()
    precisions = {"disc": 0.5}
    for least, drawn in ((0.5, True), (0.95, False)):
        figure = boxes._figure(data.test, measured.predictions, data.classes, precisions, least)
        *pairs, bars = figure.axes
        assert [len(rectangles(axes)) for axes in pairs[::2]] == [
            2 * len(data.test.targets[n]["labels"]) for n in (0, 2, 3, 5)
        ]
        for truth, prediction in zip(pairs[::2], pairs[1::2], strict=True):
            places = [sorted(patch.get_bbox().bounds for patch in rectangles(axes)) for axes in (truth, prediction)]
            assert places[1] == (places[0] if drawn else [])
        assert [bar.get_width() for bar in bars.patches] == [50.0, 0.0, 0.0]


def test_crowds_are_dashed():
    target = {"boxes": torch.ones(2, 4), "labels": torch.tensor([1, 1]), "crowd": torch.tensor([False, True])}
    split = BoxSet([torch.zeros(3, 8, 8, dtype=torch.uint8)], [target])
    figure = boxes._figure(split, torch.full((1, 0, 6), torch.nan), ["cat"], {}, 0.5)
    assert [patch.get_linestyle() for patch in rectangles(figure.axes[0])] == ["-", "-", "--", "--"]


def test_images_of_several_sizes(tmp_path):
    target = {"boxes": torch.tensor([[1.0, 1.0, 4.0, 4.0]]), "labels": torch.tensor([1])}
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((8, 20), (20, 8))]
    found = torch.tensor([1.0, 1.0, 4.0, 4.0, 1.0, 0.9]).expand(2, 1, 6)
    path = tmp_path / "new" / "boxes.png"
    save_boxes_picture(BoxSet(images, [target] * 2), found, path, classes=["cat"], precisions={})
    assert path.is_file()


def test_predictions_of_another_split_are_refused(data, tmp_path):
    for found in (torch.zeros(5, 1, 6), torch.zeros(6, 6), torch.zeros(6, 1, 5)):
        with pytest.raises(UserError, match=r"predictions: got .*, expected \(6, D, 6\)"):
            save_boxes_picture(data.test, found, tmp_path / "boxes.png", classes=data.classes, precisions={})
