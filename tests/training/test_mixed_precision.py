"""Inputs stay in full precision until autocast lowers them, and a loss scale moves once a step."""

import pytest
import torch
from lightning_fabric import Fabric
from test_graphs import CLASSES, network, views_of
from torch import nn

from limbeck import Distiller
from limbeck.training import Engine, TrainingSettings, make_fabric
from limbeck.training.mixed import LayerwisePrecision

SETTINGS = {"epochs": 1, "batch_size": 16, "device": "cpu", "precision": "bf16", "schedule": "constant"}


class Watched(nn.Module):
    """A student whose first layer, a normalization, is none that autocast lowers."""

    def __init__(self):
        super().__init__()
        self.norm, self.body, self.seen = nn.BatchNorm2d(1), network(4), set()

    def forward(self, inputs):
        self.seen.add((inputs.dtype, bool((inputs.bfloat16() == inputs).all())))
        return self.body(self.norm(inputs))


def engine_of(distiller, fabric, **more):
    settings = TrainingSettings(**{**SETTINGS, **more})
    return Engine(distiller, views_of(fabric), settings, fabric=fabric, splits={})


def test_inputs_are_not_rounded_before_the_first_layer():
    student, fabric = Watched(), make_fabric(TrainingSettings(**SETTINGS))
    engine_of(Distiller(student, method="none"), fabric).fit()
    assert student.seen == {(torch.float32, False)}


class Overflows(nn.Module):
    """A student whose gradient overflows in the batches that are listed."""

    def __init__(self, batches):
        super().__init__()
        self.body, self.batches, self.done = network(4), batches, 0

    def forward(self, inputs):
        self.done += 1
        out = self.body(inputs).float()
        if self.done - 1 in self.batches:
            out.register_hook(lambda gradient: gradient * float("inf"))
        return out


def scaled(device="cpu", **more):
    """Make a Fabric of fp16 with a loss scale that counts how often it is moved."""
    scaler = torch.amp.GradScaler(device, init_scale=16.0, **more)
    return Fabric(accelerator=device, devices=1, plugins=[LayerwisePrecision("16-mixed", device, scaler)]), scaler


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_gradients_of_fused_optimizers_are_clipped_under_a_loss_scale(optimizer):
    # At a constant rate of 1 and without momentum a step is the gradient, so that its norm is the bound.
    fabric, _ = scaled()
    trained = engine_of(
        Distiller(network(4), method="none"), fabric, clip_norm=1e-3, optimizer={"name": optimizer, "lr": 1.0}
    )
    assert trained.updates._raw[0].param_groups[0]["fused"]
    batch = next(iter(trained.views.epoch(0)))
    before = [p.detach().clone() for p in trained.distiller.parameters()]
    trained.updates._update([batch], 0, type("Nothing", (), {"add": lambda *_: None})())
    moved = torch.cat([(p - b).flatten() for p, b in zip(trained.distiller.parameters(), before, strict=True)]).norm()
    if optimizer == "sgd":
        torch.testing.assert_close(moved, torch.tensor(1e-3), rtol=0.02, atol=0)
    assert moved > 0


def test_a_step_that_is_left_out_moves_neither_schedule_nor_average():
    fabric, scaler = scaled()
    student = Overflows({1, 4})
    trained = engine_of(Distiller(student, method="none"), fabric, schedule="cosine", ema=0.5)
    trained.train_epoch(0)
    steps = len(trained.views)
    assert trained.updates.schedule.last_epoch == steps - 2
    assert int(trained.updates.ema.n_averaged) == steps - 2
    assert scaler.get_scale() == 4.0


def test_two_optimizers_move_one_loss_scale_once_a_step(monkeypatch):
    fabric, scaler = scaled(growth_interval=1000)
    moves, real = [], type(scaler).update
    monkeypatch.setattr(type(scaler), "update", lambda self, *rest: (moves.append(1), real(self, *rest)))
    distiller = Distiller(network(4), network(6), method="adversarial+kd", num_classes=CLASSES)
    trained = engine_of(distiller, fabric)
    assert len(trained.updates.optimizers) == 2
    trained.train_epoch(0)
    assert len(moves) == len(trained.views)


def test_a_growing_loss_scale_is_the_same_for_both_optimizers():
    """With a scale that doubles at every step the adversary's gradients are still divided by what they had."""
    moved = []
    for interval in (1000, 1):
        fabric, _ = scaled(growth_interval=interval)
        distiller = Distiller(network(4), network(6), method="adversarial+kd", num_classes=CLASSES)
        torch.manual_seed(0)
        for parameter in distiller.adversary_parameters():
            nn.init.normal_(parameter, std=0.1)
        trained = engine_of(distiller, fabric)
        trained.updates._raw[1].param_groups[0]["eps"] = 1.0  # so that the size of a gradient shows in Adam's step
        trained.train_epoch(0)
        moved.append(torch.cat([p.detach().flatten() for p in distiller.adversary_parameters()]))
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["none", "adversarial+kd"])
def test_on_a_gpu_fp16_is_clipped_with_fused_optimizers(method):
    settings = TrainingSettings(**{**SETTINGS, "device": "cuda", "precision": "fp16"})
    fabric = make_fabric(settings)
    distiller = Distiller(network(4), network(6), method=method, num_classes=CLASSES).to(fabric.device)
    trained = engine_of(distiller, fabric, device="cuda", precision="fp16", clip_norm=1.0)
    assert trained.train_epoch(0).means()["loss"] > 0
