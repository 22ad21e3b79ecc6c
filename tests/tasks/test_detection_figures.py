"""The figures of detection, against cases computed by hand and a loop over boxes."""

import sys

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.tasks.detection_figures import DetectionEvaluator


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def detected(rows, labels, scores):
    return {"boxes": boxes(*rows), "labels": torch.tensor(labels, dtype=torch.int64), "scores": torch.tensor(scores)}


def true(rows, labels, **more):
    return {"boxes": boxes(*rows), "labels": torch.tensor(labels, dtype=torch.int64), **more}


ONE, TWO, FAR = (0, 0, 10, 10), (20, 20, 30, 40), (60, 60, 70, 70)


def test_a_case_by_hand():
    evaluator = DetectionEvaluator(("cat", "dog", "cow"))
    # Of cats: right at .9, wrong at .8, right at .7 of two. Up to a recall of .5 the precision is 1, then 2 / 3.
    evaluator.update([detected([ONE, FAR], [1, 1], [0.9, 0.8])], [true([ONE], [1])])
    evaluator.update([detected([TWO], [1], [0.7])], [true([TWO, FAR], [1, 2])])
    measured = evaluator.compute()
    cat = (51 + 50 * 2 / 3) / 101
    assert measured.values == pytest.approx(
        {"map": cat / 2, "map_50": cat / 2, "map_75": cat / 2, "ap.cat": cat, "ap.dog": 0.0}, abs=1e-6
    )
    assert measured.predictions.shape == (2, 2, 6)
    torch.testing.assert_close(measured.predictions[0, 0], torch.tensor([0, 0, 10, 10, 1, 0.9]))
    assert measured.predictions[1, 1].isnan().all()


def test_thresholds_of_the_overlap():
    # IoU .8 is right at .5 to .8: seven of ten thresholds.
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update([detected([(0, 0, 8, 10)], [1], [0.9])], [true([ONE], [1])])
    values = evaluator.compute().values
    assert values == pytest.approx({"map": 0.7, "map_50": 1.0, "map_75": 1.0, "ap.cat": 0.7}, abs=1e-6)


def test_boxes_in_a_crowd_count_nowhere():
    truth = true([ONE, (50, 50, 90, 90)], [1, 1], crowd=torch.tensor([False, True]))
    found = detected([(52, 52, 60, 60), FAR, ONE], [1, 1, 1], [0.9, 0.8, 0.7])
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update([found], [truth])
    assert evaluator.compute().values["map"] == pytest.approx(1.0)
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update([found], [true([ONE], [1])])
    # Two wrong ones come first.
    assert evaluator.compute().values["map"] == pytest.approx(1 / 3)


def test_nothing_found_and_nothing_there():
    nothing, none = detected([], [], []), true([], [])
    for found, truth, values in (
        (nothing, true([ONE], [1]), {"map": 0.0, "map_50": 0.0, "map_75": 0.0, "ap.cat": 0.0}),
        (nothing, none, {"map": 0.0, "map_50": 0.0, "map_75": 0.0}),
        (detected([ONE], [1], [0.5]), none, {"map": 0.0, "map_50": 0.0, "map_75": 0.0}),
    ):
        evaluator = DetectionEvaluator(("cat", "dog"))
        evaluator.update([found], [truth])
        assert evaluator.compute().values == values


def test_no_image_at_all():
    measured = DetectionEvaluator(("cat", "dog")).compute()
    assert measured.values == {"map": 0.0, "map_50": 0.0, "map_75": 0.0}
    assert measured.predictions.shape == (0, 0, 6)


def test_one_class_of_many_is_there():
    evaluator = DetectionEvaluator(("cat", "dog", "cow"))
    evaluator.update([detected([ONE], [3], [0.5])], [true([ONE], [3])])
    assert evaluator.compute().values == pytest.approx({"map": 1.0, "map_50": 1.0, "map_75": 1.0, "ap.cow": 1.0})


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = np.prod(np.clip(high - low, 0, None))
    return common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common)


def precision_of_class(found, truths, label, threshold):
    """COCO's average precision of a class at one threshold, by a loop: every box takes the best one that is free."""
    marks, count = [], sum(int((truth["labels"] == label).sum()) for truth in truths)
    for image, truth in zip(found, truths, strict=True):
        free = [box.double().numpy() for box in truth["boxes"][truth["labels"] == label]]
        mine = image["labels"] == label
        order = image["scores"][mine].argsort(descending=True)
        for box, score in zip(image["boxes"][mine][order].double().numpy(), image["scores"][mine][order], strict=True):
            overlaps = [overlap(box, other) for other in free]
            best = int(np.argmax(overlaps)) if overlaps else -1
            right = best >= 0 and overlaps[best] >= threshold
            if right:
                free.pop(best)
            marks.append((float(score), right))
    marks.sort(key=lambda mark: -mark[0])
    right = np.cumsum([mark[1] for mark in marks])
    precision, recall = right / np.arange(1, len(marks) + 1), right / count
    return np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)])


def test_a_loop_over_boxes_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    found, truths = [], []
    for _ in range(12):
        count = int(torch.randint(1, 6, (), generator=generator))
        place, side = (torch.rand(count, 2, generator=generator) * size for size in (60, 30))
        truth = {"boxes": torch.cat((place, place + side + 5), dim=1)}
        truth["labels"] = torch.randint(1, 4, (count,), generator=generator)
        noise = 4 * torch.randn(2 * count, 4, generator=generator)
        labels = torch.where(torch.rand(2 * count, generator=generator) < 0.8, truth["labels"].repeat(2), 2)
        moved = truth["boxes"].repeat(2, 1) + noise
        moved = torch.cat((torch.minimum(moved[:, :2], moved[:, 2:] - 1), moved[:, 2:]), dim=1)
        found.append({"boxes": moved, "labels": labels, "scores": torch.rand(2 * count, generator=generator)})
        truths.append(truth)
    evaluator = DetectionEvaluator(("a", "b", "c"))
    for part in (slice(5), slice(5, None)):
        evaluator.update(found[part], truths[part])
    values = evaluator.compute().values
    thresholds = np.linspace(0.5, 0.95, 10)
    table = np.array([[precision_of_class(found, truths, c, t) for t in thresholds] for c in (1, 2, 3)])
    assert values["map"] == pytest.approx(table.mean(), abs=1e-6)
    assert values["map_50"] == pytest.approx(table[:, 0].mean(), abs=1e-6)
    assert values["map_75"] == pytest.approx(table[:, 5].mean(), abs=1e-6)
    assert [values[f"ap.{name}"] for name in "abc"] == pytest.approx(table.mean(axis=1).tolist(), abs=1e-6)
    assert 0.05 < values["map"] < 0.95


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    found = detected([ONE, TWO], [1, 1], [0.5, 0.25])
    found = {**found, "boxes": found["boxes"].to(dtype), "scores": found["scores"].to(dtype)}
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update([found], [true([ONE, TWO], [1, 1])])
    measured = evaluator.compute()
    assert measured.values["map"] == 1.0
    assert measured.predictions.dtype == torch.float32


def test_the_hundred_best_boxes_of_an_image_count(capfd):
    rows = [(n, 0, n + 1, 1) for n in range(150)]
    evaluator = DetectionEvaluator(("cat",))
    evaluator.update([detected(rows, [1] * 150, torch.linspace(0, 1, 150).tolist())], [true(rows, [1] * 150)])
    measured = evaluator.compute()
    assert measured.predictions.shape == (1, 100, 6)
    assert measured.predictions[0, 0, 0] == 149
    # Two thirds of the boxes are found: precision 1 at the recalls 0, .01, ... .66.
    assert measured.values["map"] == pytest.approx(67 / 101)
    # The command line's output is limbeck's own.
    assert capfd.readouterr().out == ""


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    expected = (
        r"the figures of detection: needs the package pycocotools, .* expected pip install 'limbeck\[detection\]'"
    )
    with pytest.raises(UserError, match=expected):
        DetectionEvaluator(("cat",))
