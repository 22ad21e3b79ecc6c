"""The figures of a page against other libraries and loops written by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, recall_score
from torchmetrics.classification import MulticlassCalibrationError

from limbeck.report.page.agreement import Agreement, differing
from limbeck.report.page.calibration import reliability
from limbeck.report.page.classwise import by_class, confusion
from limbeck.report.page.gains import paired_gain
from limbeck.tasks import Metric
from limbeck.tasks.segmentation_figures import SegmentationEvaluator

GENERATOR = np.random.default_rng(1)


@pytest.mark.parametrize("better", [True, False])
def test_a_gain_has_the_interval_of_a_paired_t_test(better):
    metric = Metric("figure", "figure", higher_is_better=better, share=False)
    one, other = GENERATOR.normal(size=(2, 5))
    found = paired_gain(dict(enumerate(one)), dict(enumerate(other)), metric)
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    ends = (expected.low, expected.high) if better else (-expected.high, -expected.low)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.is_clear == (ends[0] > 0 or ends[1] < 0)


def test_only_seeds_that_both_have_are_paired():
    accuracy = Metric("accuracy", "accuracy")
    found = paired_gain({0: 0.5, 2: 0.9, 3: 0.8}, {1: 0.1, 2: 0.8, 3: 0.6}, accuracy)
    assert found.by_seed == pytest.approx((10.0, 20.0))
    assert paired_gain({0: 0.5}, {1: 0.5}, accuracy) is None
    alone = paired_gain({0: 0.5}, {0: 0.25}, accuracy)
    assert (alone.half, alone.is_clear, alone.low) == (None, False, 25.0)


def test_the_calibration_error_is_that_of_torchmetrics():
    probabilities = torch.from_numpy(GENERATOR.dirichlet([0.3] * 4, size=300)).float()
    labels = torch.from_numpy(GENERATOR.integers(0, 4, size=300))
    confidence, made = probabilities.max(dim=1)
    stored = {"test": made.numpy(), "test.confidence": confidence.numpy()}
    error = MulticlassCalibrationError(4, n_bins=15, norm="l1")(probabilities, labels)
    assert reliability([stored], "test", labels.numpy()).error == pytest.approx(float(error), abs=1e-6)
    # A sample without a label counts nowhere.
    more = {"test": np.append(made, 0), "test.confidence": np.append(confidence, 1.0)}
    assert reliability([more], "test", np.append(labels, -100)).error == pytest.approx(float(error), abs=1e-6)
    assert reliability([{"test": made.numpy()}], "test", labels.numpy()) is None


def test_confusion_and_recall_are_those_of_scikit_learn():
    labels, made = GENERATOR.integers(0, 3, size=(2, 50))
    found = confusion([{"test": made}, {"test": labels}], "test", labels, ["a", "b", "c"])
    once = confusion_matrix(labels, made, normalize="true")
    np.testing.assert_allclose(found, (once + np.eye(3)) / 2)
    recall = by_class("classification", {"test": made}, "test", {}, labels, ["a", "b", "c"])
    np.testing.assert_allclose(recall, recall_score(labels, made, average=None))


def test_f1_of_several_classes_a_sample_is_that_of_scikit_learn():
    labels, made = GENERATOR.integers(0, 2, size=(2, 40, 3))
    found = by_class("multilabel", {"test": made}, "test", {}, labels, ["a", "b", "c"])
    np.testing.assert_allclose(found, f1_score(labels, made, average=None))


def test_agreement_is_counted_sample_by_sample():
    labels, teacher, one, two = GENERATOR.integers(0, 3, size=(4, 60))
    found = Agreement.of(np.stack([one, two]), teacher, labels)
    pairs = [(s, t, y) for made in (one, two) for s, t, y in zip(made, teacher, labels, strict=True)]
    wrong = [(s, t, y) for s, t, y in pairs if t != y]
    assert found.where_wrong == pytest.approx(sum(s == t for s, t, _ in wrong) / len(wrong))
    assert found.corrected == pytest.approx(sum(s == y for s, _, y in wrong) / len(wrong))
    right = [s == t for s, t, y in pairs if t == y]
    assert found.where_right == pytest.approx(sum(right) / len(right))
    assert math.isnan(Agreement.of(labels, labels, labels).where_wrong)


def test_samples_on_which_all_agree_are_not_shown():
    labels = np.zeros(6, dtype=int)
    made = {"none": np.array([0, 1, 0, 0, 1, 0]), "kd": np.array([0, 0, 0, 1, 1, 0])}
    assert differing(made, labels, 10) == [1, 3]
    assert differing(made, labels, 1) == [1]
    assert differing(made, None, 10) == [1, 3]


def test_pixels_are_confused_and_calibrated_as_a_loop_counts_them():
    logits = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 2
    masks = torch.randint(0, 4, (3, 5, 6), generator=torch.Generator().manual_seed(1))
    masks[0, 0] = 255
    evaluator = SegmentationEvaluator(("a", "b", "c", "d"), lambda output: output)
    evaluator.update(logits, masks)
    details = {name: tensor.numpy() for name, tensor in evaluator.compute().details.items()}
    probabilities = logits.softmax(1).permute(0, 2, 3, 1)[masks != 255]
    labels = masks[masks != 255]
    expected = confusion_matrix(labels, probabilities.argmax(1), labels=range(4))
    np.testing.assert_array_equal(details["confusion"], expected)
    stored = {f"test.{name}": tensor for name, tensor in details.items()}
    error = MulticlassCalibrationError(4, n_bins=15, norm="l1")(probabilities, labels)
    assert reliability([stored], "test", None).error == pytest.approx(float(error), abs=1e-6)
