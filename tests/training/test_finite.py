"""A loss, a gradient or teacher's logits that are not finite stop a training at that very step."""

import re

import pytest
import torch
from test_graphs import CLASSES, SAMPLES, Network, network, views_of
from torch import nn

from limbeck import Distiller
from limbeck.data import Batch, ImageSet, Views
from limbeck.errors import RunError
from limbeck.training import Engine, TrainingSettings, finite, make_fabric
from limbeck.training.checkpoint import load_checkpoint
from limbeck.training.finite import LAG, MOST_LEFT_OUT, FiniteWatch, NotFiniteError
from limbeck.training.finite_line import Place
from limbeck.training.mixed import LayerwisePrecision

VALUES = [float("nan"), float("inf"), -float("inf")]
STEPS = -(-SAMPLES // 16)


class Spoilt(nn.Module):
    """Passes logits on, but at its nth call in train mode, or at its nth at all, spoils those of two samples."""

    def __init__(self, body, value, at):
        super().__init__()
        self.body, self.value, self.at, self.calls = body, value, at, 0

    def forward(self, inputs):
        logits = self.body(inputs)
        self.calls += 1
        # Run again, the step is the same.
        if self.at <= self.calls <= self.at + 1:
            logits = logits.clone()
            logits[[3, 5], 1] = self.value
        return logits


class RootOfZero(nn.Module):
    """A layer with finite outputs whose gradient is infinite, for one sample of one step."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, values):
        self.calls += 1
        if not self.at <= self.calls <= self.at + 1:
            return values
        root = (values[4] - values[4]).sqrt()
        return torch.cat([values[:4], (values[4] + root)[None], values[5:]])


def engine(student, teacher=None, *, folder=None, precision="fp32", method=None, **more):
    settings = TrainingSettings(epochs=2, batch_size=16, device="cpu", precision=precision, **more)
    fabric = make_fabric(settings)
    distiller = Distiller(student, teacher, method or ("none" if teacher is None else "kd"))
    return Engine(distiller, views_of(fabric), settings, fabric=fabric, splits={}, checkpoint=folder)


def stopped(training):
    with pytest.raises(RunError) as error:
        training.fit()
    assert "\n" not in str(error.value)
    return str(error.value)


def places(step):
    """Epoch and step, from 1, of a step of the whole training, from 1."""
    return f"epoch {(step - 1) // STEPS + 1}, step {(step - 1) % STEPS + 1} of {STEPS}: "


def indices(step, positions):
    epoch, number = divmod(step - 1, STEPS)
    batch = list(views_of(make_fabric(TrainingSettings(device="cpu"))).epoch(epoch))[number]
    return ", ".join(str(int(batch.indices[position])) for position in positions)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("step", [1, 7, STEPS, 2 * STEPS])
def test_teachers_logits_stop_at_their_step(precision, step):
    for value in VALUES:
        line = stopped(engine(network(4), Spoilt(network(6), value, step), precision=precision))
        assert line.startswith(places(step) + "the teacher's logits are nan or inf in 2 of the batch's ")
        assert f"samples (index {indices(step, [3, 5])}); largest logits: student " in line
        largest = "nan" if value != value else "inf"
        assert re.search(rf"student [\d.e-]+, teacher {largest} \(else [\d.e-]+\); check its weights", line)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("step", [1, 7, STEPS, 2 * STEPS])
def test_a_loss_part_stops_at_its_step(precision, step):
    for value in (float("nan"), float("inf")):
        line = stopped(engine(Spoilt(network(4), value, step), network(6), precision=precision))
        assert line.startswith(places(step) + "the loss parts ce, kd are nan in 2 of the batch's ")
        assert f"samples (index {indices(step, [3, 5])}); largest logits: student {value} (else " in line
        assert line.endswith("; try a lower learning rate or clip_norm")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("step", [1, STEPS, STEPS + 3])
def test_a_gradient_stops_before_the_weights_are_changed(precision, step):
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), RootOfZero(step), nn.ReLU(), nn.Linear(8, CLASSES))
    training = engine(student, precision=precision, clip_norm=1.0)
    line = stopped(training)
    assert line.startswith(places(step) + "the gradient of 1.bias and of 1 more is nan or inf (of a loss of ")
    assert f"1 of the batch's {16 if step % STEPS else SAMPLES % 16} samples (index {indices(step, [4])})" in line
    assert all(parameter.isfinite().all() for parameter in student.parameters())


def test_the_teachers_part_alone_is_named():
    training = engine(network(4), network(6))
    loss = next(iter(training.distiller.losses))
    plain = loss.forward
    loss.forward = lambda *given, **more: plain(*given, **more) + float("inf")
    line = stopped(training)
    # Not which samples: their logits, and the loss's gradient of these, are finite.
    assert re.match(r"epoch 1, step 1 of 10: the loss part kd is inf in a batch of 16 samples \(index \d+, ", line)
    assert re.search(r"largest logits: student [\d.]+, teacher [\d.]+; try a lower", line)


def test_the_last_good_checkpoint_is_kept_and_named(tmp_path):
    line = stopped(engine(Spoilt(network(4), VALUES[0], STEPS + 2), folder=tmp_path / "last"))
    assert line.endswith(f"; the last good checkpoint is kept in {tmp_path / 'last'}")
    state = load_checkpoint(tmp_path / "last")
    assert [row["epoch"] for row in state["record"]] == [1]
    assert stopped(engine(Spoilt(network(4), VALUES[0], 2), folder=tmp_path / "none")).endswith("or clip_norm")
    assert not (tmp_path / "none").exists()


def test_no_checkpoint_has_weights_that_are_not_finite(tmp_path):
    training = engine(network(4), folder=tmp_path / "last")

    def overflow(*_):
        with torch.no_grad():
            training.distiller.student[5].bias[0] = float("inf")

    training.updates._raw[0].register_step_post_hook(overflow)
    training.views = _OneStep(training.views)
    line = stopped(training)
    assert "after the step the weights of 5.bias are nan or inf" in line
    assert not (tmp_path / "last").exists()


class _OneStep:
    """The first batch of each epoch."""

    def __init__(self, views):
        self.views = views

    def __len__(self):
        return 1

    def epoch(self, epoch):
        yield next(self.views.epoch(epoch))


def test_a_large_gradient_whose_squares_overflow_is_no_error():
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    training = engine(student, optimizer={"name": "sgd", "lr": 1e-30})
    weight = student[1].weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, 1e30))
    assert len(training.fit()) == 2


def test_inputs_that_are_not_finite_are_named():
    inputs = torch.rand(8, 4)
    inputs[6, 2] = float("nan")
    batches = [(inputs, torch.zeros(8, dtype=torch.long), torch.arange(8) + 100)]
    settings = TrainingSettings(epochs=1, batch_size=8, device="cpu", precision="fp32")
    fabric = make_fabric(settings)
    distiller = Distiller(nn.Linear(4, 3), method="none")
    line = stopped(Engine(distiller, _Listed(batches), settings, fabric=fabric, splits={}))
    assert "in 1 of the batch's 8 samples (index 106)" in line
    assert line.endswith("the inputs of these samples are nan or inf, check the data")


class _Listed:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, _):
        return iter(self.batches)


def test_student_logits_beside_a_finite_loss_are_for_check_finite():
    def student():
        return Spoilt(network(4), -float("inf"), 4)

    # A class with a logit of -inf has probability 0, which is no fault of the other classes' loss.
    images = ImageSet(torch.zeros(16, 1, 8, 8, dtype=torch.uint8), torch.zeros(16, dtype=torch.long))
    for check, expected in ((False, None), (True, "epoch 1, step 4 of 4: the student's logits are nan or inf in 2")):
        settings = TrainingSettings(epochs=1, batch_size=4, device="cpu", precision="fp32", check_finite=check)
        fabric = make_fabric(settings)
        views = Views(images, batch_size=4, mean=[0.5], std=[0.2], device=fabric.device)
        spoilt = student()
        spoilt.forward = _first_three_finite(spoilt)
        training = Engine(Distiller(spoilt, method="none"), views, settings, fabric=fabric, splits={})
        if expected is None:
            training.fit()
        else:
            assert stopped(training).startswith(expected)


def _first_three_finite(spoilt):
    def forward(inputs):
        logits = spoilt.body(inputs)
        spoilt.calls += 1
        mask = torch.zeros_like(logits, dtype=torch.bool)
        mask[:2, 1] = spoilt.calls >= spoilt.at
        return logits.masked_fill(mask, spoilt.value)

    return forward


def deferred(training, monkeypatch, late):
    """Let a training read each step's numbers as a GPU's would be read: ``late`` looks after they were computed."""
    training.updates.watch._deferred = True

    def copied(values):
        looks = iter(range(late))
        return values.clone(), lambda: next(looks, None) is None

    monkeypatch.setattr(finite, "copied_to_host", copied)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)


class _Stream:
    def synchronize(self):
        pass


@pytest.mark.parametrize("late", [0, 1, 100])
@pytest.mark.parametrize("step", [1, 7, STEPS])
def test_numbers_that_are_read_later_name_the_step_at_which_it_began(monkeypatch, tmp_path, late, step):
    for kind in ("teacher", "student"):
        spoilt = Spoilt(network(6), VALUES[0], step)
        pair = (network(4), spoilt) if kind == "teacher" else (spoilt, network(4))
        training = engine(*pair, folder=tmp_path / "last")
        deferred(training, monkeypatch, late)
        line = stopped(training)
        assert line.startswith(places(step))
        assert ("the teacher's logits" if kind == "teacher" else "the loss parts ce, kd are nan") in line
        assert (
            f"in 2 of the batch's {16 if step % STEPS else SAMPLES % 16} samples (index {indices(step, [3, 5])})"
            in line
        )
        assert spoilt.calls <= step + LAG
        assert not (tmp_path / "last").exists()


def test_a_gradient_that_is_read_later_names_what_names_the_layer(monkeypatch):
    body = network(4)
    training = engine(Network(*list(body)[:5], RootOfZero(3), body[5]))
    deferred(training, monkeypatch, 2)
    line = stopped(training)
    assert line.startswith(places(3) + "a gradient is nan or inf (of a loss of ")
    assert "training.check_finite names it" in line


class Scaled(LayerwisePrecision):
    """fp16's loss scale on a CPU."""

    def __init__(self):
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**16))


def scaled_watch(steps):
    distiller = Distiller(nn.Linear(4, 3), method="none")
    fabric = make_fabric(TrainingSettings(device="cpu", precision="fp32"))
    fabric.strategy.precision = Scaled()
    watch = FiniteWatch(distiller, fabric, steps=steps, logits=False, deferred=False)
    return distiller, fabric.strategy.precision.scaler, watch


def test_gradients_that_are_inf_in_fp16_are_left_out_until_it_never_ends():
    distiller, scaler, watch = scaled_watch(1000)
    batch = Batch(torch.randn(2, 4), torch.tensor([0, 1]), torch.tensor([7, 5]))
    with watch.epoch():
        watch.at(Place(0, 1, 1000))
        out = distiller(*batch)
        scaler.scale(out.loss).backward()
        distiller.student.weight.grad[0] = float("inf")
        watch.check(batch, out)
        for number in range(1, MOST_LEFT_OUT):
            watch.at(Place(0, number, 1000))
            watch.stepped(False)
        watch.stepped(True)
        for _ in range(MOST_LEFT_OUT - 1):
            watch.stepped(False)
        with pytest.raises(NotFiniteError, match=r"epoch 1, step 99 of 1000: 100 steps in a row were left out"):
            watch.stepped(False)
        watch.stepped(True)
        scaler.update(2.0**-15)
        with pytest.raises(NotFiniteError, match=r"1 steps in a row were left out.* scale of 3.05e-05; try training"):
            watch.stepped(False)


def test_a_loss_that_is_nan_in_fp16_is_an_error_at_once():
    distiller, _, watch = scaled_watch(10)
    batch = Batch(torch.full((2, 4), torch.inf), torch.tensor([0, 1]), torch.tensor([7, 5]))
    with watch.epoch():
        watch.at(Place(0, 1, 10))
        out = distiller(*batch)
        with pytest.raises(NotFiniteError, match="the loss part ce is nan"):
            watch.check(batch, out)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("check", [False, True])
def test_a_gpu_names_the_step(tmp_path, check):
    settings = TrainingSettings(epochs=2, batch_size=16, device="cuda", precision="bf16", check_finite=check)
    fabric = make_fabric(settings)
    distiller = Distiller(network(4), Spoilt(network(6), VALUES[0], 7), "kd").to(fabric.device)
    training = Engine(distiller, views_of(fabric), settings, fabric=fabric, splits={}, checkpoint=tmp_path / "last")
    line = stopped(training)
    assert line.startswith(places(7) + "the teacher's logits are nan or inf in 2 of the batch's 16 samples (index ")
    assert not (tmp_path / "last").exists()
