"""Temperature scaling of trained networks of each task, against scipy and torchmetrics on what the network returns."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from limbeck import Distiller
from limbeck.tasks import Classification, MultiLabel, Segmentation
from limbeck.training import Engine, TrainingSettings, make_fabric, scale
from limbeck.training.scaling import Scaling

CLASSES, SAMPLES = 3, 40


def maps_net():
    return nn.Sequential(nn.Conv2d(1, CLASSES, 3, stride=2, padding=1), nn.Dropout(0.5))


def case(name):
    """Return a task, a network, and inputs and targets, of which the network has more than half right."""
    torch.manual_seed(3)
    shape = (SAMPLES, 1, 8, 10) if name == "segmentation" else (SAMPLES, 6)
    network, inputs = maps_net() if name == "segmentation" else nn.Linear(6, CLASSES), torch.randn(shape)
    with torch.no_grad():
        output = network.eval()(inputs)
    if name == "multilabel":
        targets = torch.where(torch.rand(output.shape) < 0.6, (output > 0).long(), torch.randint(-1, 2, output.shape))
        return MultiLabel(CLASSES), network, inputs, targets
    full = F.interpolate(output, size=(8, 10), mode="bilinear") if name == "segmentation" else output
    best = full.argmax(dim=1)
    targets = torch.where(torch.rand(best.shape) < 0.6, best, torch.randint(CLASSES, best.shape))
    absent, task = (255, Segmentation(CLASSES)) if name == "segmentation" else (-100, Classification(CLASSES))
    return task, network, inputs, targets.masked_fill(torch.rand(best.shape) < 0.2, absent)


def batches(inputs, targets):
    pieces = torch.arange(len(inputs)).split(16)
    return [(inputs[piece], targets[piece], piece) for piece in pieces]


def by_hand(name, network, inputs, targets):
    """Return the labeled rows of logits, (R, C), and their classes."""
    with torch.no_grad():
        output = network.eval()(inputs).double()
    if name == "classification":
        return output[targets >= 0], targets[targets >= 0]
    if name == "multilabel":
        known = targets >= 0
        return torch.stack([torch.zeros_like(output[known]), output[known]], dim=1), targets[known]
    full = F.interpolate(output.float(), size=targets.shape[1:], mode="bilinear").double()
    return full.permute(0, 2, 3, 1)[targets != 255], targets[targets != 255]


@pytest.mark.parametrize("name", ["classification", "multilabel", "segmentation"])
def test_a_network_is_scaled_by_what_it_returns_on_the_validation_split(name):
    task, network, inputs, targets = case(name)
    half = SAMPLES // 2
    settings = TrainingSettings(epochs=1, batch_size=16, device="cpu", precision="fp32")
    engine = Engine(
        Distiller(network, method="none", task=task),
        _Once(batches(inputs, targets)),
        settings,
        fabric=make_fabric(settings),
        splits={"test": batches(inputs[half:], targets[half:]), "validation": batches(inputs, targets)},
    )
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    found = scale(engine)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    logits, classes = by_hand(name, network, inputs, targets)

    def loss(log_temperature):
        return float(F.cross_entropy(logits / np.exp(log_temperature), classes))

    best = minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded", options={"xatol": 1e-9}).x
    assert found.temperature == pytest.approx(np.exp(best), rel=1e-4)
    assert found.warning is None
    assert found.rows == len(classes)
    tested = by_hand(name, network, inputs[half:], targets[half:])
    for figures, temperature in ((found.before, 1.0), (found.after, found.temperature)):
        for split, (rows, truth) in {"validation": (logits, classes), "test": tested}.items():
            scaled = rows / temperature
            assert figures[split]["loss"] == pytest.approx(float(F.cross_entropy(scaled, truth)), rel=1e-6)
            ece = multiclass_calibration_error(scaled.softmax(1), truth, num_classes=rows.shape[1], n_bins=15)
            assert figures[split]["ece"] == pytest.approx(float(ece), abs=1e-6)
    assert found.after["validation"]["loss"] <= found.before["validation"]["loss"]


class _Once:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, _):
        return iter(self.batches)


def test_of_large_maps_some_positions_are_drawn(monkeypatch):
    task, network, inputs, targets = case("segmentation")
    settings = TrainingSettings(epochs=1, batch_size=16, device="cpu", precision="fp32")
    splits = {name: batches(inputs, targets) for name in ("test", "validation")}
    views = _Once(splits["test"])
    engine = Engine(Distiller(network, method="none", task=task), views, settings, fabric=make_fabric(settings),
                    splits=splits)  # fmt: skip
    whole = scale(engine)
    monkeypatch.setattr("limbeck.training.scaling._ROWS_OF_A_SAMPLE", 20)
    some, again = scale(engine), scale(engine)
    assert some == again
    assert 15 * SAMPLES < some.rows < 25 * SAMPLES < whole.rows
    assert some.before["test"] == whole.before["test"]
    assert some.temperature == pytest.approx(whole.temperature, rel=0.5)


def test_a_temperature_at_its_bound_is_warned_of():
    figures = {split: {"loss": 0.5, "ece": 0.1} for split in ("validation", "test")}
    assert Scaling(1.2, 9, figures, figures).warning is None
    assert "at its bound 0.05, as all rows of the split are right" in Scaling(0.05, 9, figures, figures).warning
    assert "at its bound 20, as the logits are no better than chance" in Scaling(20.0, 9, figures, figures).warning
