"""Temperatures against scipy's optimizer, and calibration figures against torchmetrics and NumPy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torchmetrics.functional.classification import multiclass_calibration_error

from limbeck.errors import UserError
from limbeck.training import fit_temperature
from limbeck.training.calibration import Calibration


def by_scipy(logits, labels):
    """The temperature by Brent's bounded search over its logarithm, with one-hot labels in NumPy."""
    logits, labels = logits.double().numpy(), labels.numpy()
    truth = labels if labels.ndim == 2 else np.eye(logits.shape[1])[labels]

    def loss(log_temperature):
        return -(truth * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(1).mean()

    bounds = np.log([0.05, 20])
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x))


def drawn(rows=300, classes=5, scale=1.0, seed=0):
    """Rows whose labels are drawn from the probabilities of their logits, and the logits times ``scale``."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator)
    return scale * logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 5, 40])
def test_the_temperature_is_that_of_scipy(scale, classes):
    logits, labels = drawn(classes=classes, scale=scale, seed=classes)
    assert fit_temperature(logits, labels) == pytest.approx(by_scipy(logits, labels), rel=1e-5)
    soft = torch.rand(len(logits), classes).softmax(dim=1)
    assert fit_temperature(logits, soft) == pytest.approx(by_scipy(logits, soft), rel=1e-5)


def test_more_rows_than_a_piece_recover_the_scale():
    logits, labels = drawn(rows=70_000, scale=2.5)
    assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)


def test_rows_of_two_are_a_sigmoid():
    logits, labels = torch.randn(200) * 3, torch.randint(2, (200,))
    rows = torch.stack([torch.zeros(200), logits], dim=1)

    def loss(log_temperature):
        scaled = logits.double().numpy() / np.exp(log_temperature)
        return np.mean(np.logaddexp(0, scaled) - labels.numpy() * scaled)

    best = minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(rows, labels) == pytest.approx(np.exp(best), rel=1e-5)


def test_the_bounds():
    right = torch.eye(4)
    assert fit_temperature(right, torch.arange(4)) == 0.05
    assert fit_temperature(-right, torch.arange(4)) == 20
    assert fit_temperature(torch.full((3, 2), 3.7), torch.tensor([0, 1, 1])) == 1
    assert fit_temperature(torch.tensor([[0.0, 1e4], [1e4, 0.0], [0.0, 1e4]]), torch.tensor([1, 0, 0])) == 20


def test_rows_without_a_label_do_not_count():
    logits, labels = drawn()
    with_absent = torch.where(torch.arange(300) % 3 == 0, -100, labels)
    kept = with_absent != -100
    assert fit_temperature(logits, with_absent) == fit_temperature(logits[kept], labels[kept])


def test_bad_rows_are_one_line():
    logits, labels = drawn(rows=3)
    with pytest.raises(UserError, match="no rows, expected finite logits"):
        fit_temperature(logits, torch.full((3,), -100))
    with pytest.raises(UserError, match="nan or inf among them"):
        fit_temperature(logits * torch.inf, labels)
    with pytest.raises(UserError, match="labels: got values from"):
        fit_temperature(logits, labels + 5)


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_calibration_is_that_of_torchmetrics(temperature):
    logits, labels = drawn(scale=3.0)
    calibration = Calibration(temperature)
    for piece, of_piece in zip(logits.split(70), labels.split(70), strict=True):
        calibration.add(piece, of_piece)
    calibration.add(logits[:5], torch.full((5,), -100))
    calibration.add(logits[:5], None)
    scaled = logits.double() / temperature
    expected = multiclass_calibration_error(scaled.softmax(1), labels, num_classes=5, n_bins=15, norm="l1")
    assert calibration.rows == 300
    assert calibration.figures()["ece"] == pytest.approx(float(expected), abs=1e-7)
    by_hand = -log_softmax(scaled.numpy(), axis=1)[np.arange(300), labels].mean()
    assert calibration.figures()["loss"] == pytest.approx(by_hand, rel=1e-12)


def test_calibration_of_soft_labels_and_of_nothing():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    soft = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
    calibration = Calibration()
    calibration.add(logits, soft)
    expected = -(soft.double().numpy() * log_softmax(logits.double().numpy(), axis=1)).sum(1).mean()
    assert calibration.figures()["loss"] == pytest.approx(expected, rel=1e-6)
    assert Calibration().figures() == {"loss": 0.0, "ece": 0.0}
    with pytest.raises(UserError, match="temperature"):
        Calibration(0)
