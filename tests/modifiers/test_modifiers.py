"""Modifiers and the methods made of them: temperatures fixed, scheduled and learned, against loops written by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import limbeck
from limbeck.errors import UserError
from limbeck.losses import dist_loss, kd_loss, standardize_logits
from limbeck.modifiers import LearnedTemperature, ScheduledTemperature, StandardizeLogits, Temperature
from limbeck.modifiers.scheduled import _scale
from limbeck.teachers import Teacher

ALL = {
    "standardize": StandardizeLogits,
    "fixed": lambda: Temperature(3.0),
    "scheduled": ScheduledTemperature,
    "learned": LearnedTemperature,
}


def rows(n=8, c=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(n, c, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(c, (n,), generator=generator)


class FixedLogits(Teacher):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def answer(self, batch, epoch=0):
        return self.rows


def net(seed):
    torch.manual_seed(seed)
    return nn.Linear(6, 4)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 6, generator=generator), torch.randint(4, (32,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_computed_in_full_and_inputs_stay(name, dtype):
    student, teacher, labels = rows(dtype=dtype)
    before = student.clone(), teacher.clone()
    out = ALL[name]()(student, teacher, labels, 0.5)
    wide = ALL[name]()(student.double(), teacher.double(), labels, 0.5)
    for got, expected in zip(out[:2], wide[:2], strict=True):
        assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@pytest.mark.parametrize("extreme", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ALL)
def test_finite_at_extremes(name, dtype, extreme):
    student, teacher, labels = rows(dtype=dtype)
    student, teacher = (torch.where(side > 0, extreme, -extreme).to(dtype) for side in (student, teacher))
    student.requires_grad_(True)
    modifier = ALL[name]()
    out = modifier(student, teacher, labels, 0.5)
    (out.factor * kd_loss(out.student, out.teacher, temperature=1.0)).backward()
    assert student.grad.isfinite().all()
    assert all(value.isfinite().all() for value in modifier.state_dict().values())
    assert all(parameter.grad.isfinite().all() for parameter in modifier.parameters())


@pytest.mark.parametrize("name", ALL)
def test_compiles_as_one_graph_for_all_epochs(name):
    eager, modifier = ALL[name](), ALL[name]()
    compiled = torch.compile(modifier, fullgraph=True, backend="aot_eager")
    student, teacher, labels = rows()
    for progress in (0.0, 0.25, 0.5):
        for got, expected in zip(
            compiled(student, teacher, labels, progress), eager(student, teacher, labels, progress), strict=True
        ):
            torch.testing.assert_close(got, expected)


def test_a_fixed_temperature_is_the_losses_own():
    student, teacher, labels = rows()
    out = Temperature(4.0)(student, teacher, labels, 0.0)
    torch.testing.assert_close(out.factor * kd_loss(*out[:2], temperature=1.0), kd_loss(student, teacher))


def by_hand(gaps, epochs, steps, *, initial=8.0, low=4.0, high=8.0, curve=1.0, momentum=0.9):
    """The rule of DTS, one number at a time, as the paper writes it."""
    temperature, seen = initial, []
    for number, gap in enumerate(gaps):
        seen.append(temperature)
        cosine = (1 + math.cos(math.pi * curve * (number // steps) / epochs)) / 2
        scale = gap / (gap + 1)
        target = initial * cosine * scale if scale > 1 else initial * cosine
        temperature = momentum * temperature + (1 - momentum) * min(max(target, low), high)
    return seen, temperature


@pytest.mark.parametrize(
    "settings", [{}, {"initial": 4.0, "minimum": 2.0, "maximum": 4.0}, {"curve": 0.65, "momentum": 0.0}]
)
def test_the_schedule_is_the_papers_loop(settings):
    modifier = ScheduledTemperature(**settings)
    gaps, seen = [], []
    for number in range(24):
        # From a student as good as its teacher to one that is far behind, so that all branches occur.
        student, teacher, labels = rows(seed=number, dtype=torch.float64)
        student = student * (number % 4) / 2
        s, t = (
            -(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[np.arange(8), labels].mean()
            for z in (student.numpy(), teacher.numpy())
        )
        gaps.append(t - s)
        seen.append(modifier(student, teacher, labels, (number // 4) / 6).factor.sqrt().item())
        modifier.update(student, teacher, labels, (number // 4) / 6)
    keys = {"minimum": "low", "maximum": "high"}
    expected, last = by_hand(gaps, 6, 4, **{keys.get(key, key): value for key, value in settings.items()})
    assert min(gaps) < -1.5
    assert max(gaps) > -0.5
    assert seen == pytest.approx(expected, rel=1e-5)
    assert modifier.temperature.item() == pytest.approx(last, rel=1e-5)


def logits_with_gap(gap):
    """One row of a teacher that is certain and of a student whose cross-entropy is ``-gap``."""
    right = math.exp(gap)
    return torch.tensor([[math.log(right), math.log1p(-right)]]), torch.tensor([[200.0, 0.0]]), torch.tensor([0])


@pytest.mark.parametrize(
    ("gap", "target"),
    [(-0.5, 4.0), (-1.001, 6.0), (-3.0, 6.0), (-5.0, 5.0)],
)
def test_a_student_far_behind_raises_the_temperature(gap, target):
    modifier = ScheduledTemperature(initial=4.0, minimum=1.0, maximum=6.0, momentum=0.0)
    student, teacher, labels = logits_with_gap(gap)
    modifier.update(student, teacher, labels, 0.0)
    assert modifier.temperature.item() == pytest.approx(target, rel=1e-4)


def test_the_scale_at_and_around_a_gap_of_minus_one():
    gaps = torch.tensor([-3.0, -2.0, -1.0, -0.999, -0.5, 0.0, 3.0, float("nan")])
    assert _scale(gaps).tolist() == [1.5, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert _scale(torch.nextafter(torch.tensor(-1.0), torch.tensor(-2.0))) > 1e6


@pytest.mark.parametrize(
    "rows", [torch.tensor([[float("nan"), 0.0]]), torch.tensor([[-float("inf"), 0.0]]), torch.zeros(0, 2)]
)
def test_a_gap_that_is_no_number_leaves_the_temperature(rows):
    modifier = ScheduledTemperature()
    modifier.update(rows, torch.zeros(len(rows), 2), torch.zeros(len(rows), dtype=torch.long), 0.9)
    assert modifier.temperature == 8.0


def test_the_schedule_does_not_move_in_eval_mode_and_is_saved():
    student, teacher, labels = rows()
    distiller = limbeck.Distiller(nn.Identity(), FixedLogits(teacher), "dts", epochs=10, num_classes=student.shape[1])
    modifier = distiller.modifiers[0]
    distiller.eval()(student, labels, epoch=9)
    assert modifier.temperature == 8.0
    distiller.train()(student, labels, epoch=9)
    assert modifier.temperature < 8.0
    copy = ScheduledTemperature()
    copy.load_state_dict(modifier.state_dict())
    assert torch.equal(copy.temperature, modifier.temperature)


def test_the_gradient_through_a_schedule_is_that_of_the_batchs_own_temperature():
    student, teacher, labels = rows(dtype=torch.float64)
    student.requires_grad_(True)
    out = ScheduledTemperature()(student, teacher, labels, 0.9)
    (out.factor * kd_loss(out.student, out.teacher, temperature=1.0)).backward()
    expected = torch.autograd.grad(kd_loss(student, teacher, temperature=8.0), student)[0]
    torch.testing.assert_close(student.grad, expected)


def strength(epoch, epochs=240, loops=10):
    """The curriculum as the released code counts: how far a cosine over the first epochs has fallen, from 0 to 1."""
    return 1 - (1 + math.cos(math.pi * min(epoch, loops) / loops)) / 2


@pytest.mark.parametrize("epoch", [0, 1, 5, 10, 11, 200])
def test_the_learned_temperatures_gradient_is_reversed_and_grows_with_the_epochs(epoch):
    student, teacher, labels = rows(dtype=torch.float64)
    modifier = LearnedTemperature().double()
    out = modifier(student, teacher, labels, epoch / 240)
    loss = limbeck.methods.create("ctkd").terms[0].build(5)(*out[:2]) * out.factor
    loss.backward()

    def kd(theta):
        temperature = 1 + 20 / (1 + np.exp(-theta))
        s, t = (z / temperature - np.log(np.exp(z / temperature).sum(axis=1, keepdims=True)) for z in both)
        return temperature**2 * (np.exp(t) * (t - s)).sum(axis=1).mean()

    both = student.numpy(), teacher.numpy()
    slope = (kd(1 + 1e-5) - kd(1 - 1e-5)) / 2e-5
    assert loss.item() == pytest.approx(kd(1.0), rel=1e-9)
    assert abs(slope) > 1e-3
    assert modifier.theta.grad.item() == pytest.approx(-strength(epoch) * slope, rel=1e-5, abs=1e-12)


def test_an_ordinary_step_raises_the_loss_by_the_temperature():
    student, teacher, labels = rows()
    modifier = LearnedTemperature()
    optimizer = torch.optim.SGD(modifier.parameters(), lr=1.0)
    losses = []
    for _ in range(20):
        out = modifier(student, teacher, labels, 0.9)
        losses.append(limbeck.methods.create("ctkd").terms[0].build(5)(*out[:2]) * out.factor)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert all(later >= earlier for earlier, later in pairwise(losses))
    assert losses[-1] > losses[0] + 1e-3


def test_the_learned_temperatures_range_and_the_students_gradient():
    modifier = LearnedTemperature()
    assert modifier.temperature.item() == pytest.approx(1 + 20 / (1 + math.exp(-1)))
    for theta, temperature in ((-80.0, 1.0), (80.0, 21.0)):
        modifier.theta.data.fill_(theta)
        assert modifier.temperature.item() == pytest.approx(temperature)
    student, teacher, labels = rows(dtype=torch.float64)
    student.requires_grad_(True)
    out = modifier.double()(student, teacher, labels, 0.9)
    (out.factor * kd_loss(*out[:2], temperature=1.0)).backward()
    expected = torch.autograd.grad(kd_loss(student, teacher, temperature=21.0), student)[0]
    torch.testing.assert_close(student.grad, expected)


def test_ctkds_loss_weighs_rows():
    student, teacher, labels = rows(dtype=torch.float64)
    loss = limbeck.methods.create("ctkd").terms[0].build(5)
    weight = torch.tensor([1.0, 0, 0, 2, 0, 1, 0, 0]).double()
    torch.testing.assert_close(
        loss(student, teacher, labels, weight), kd_loss(student, teacher, temperature=1.0, weight=weight)
    )
    assert torch.autograd.gradcheck(loss, (student.requires_grad_(True), teacher.requires_grad_(True)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(0), "temperature: got 0, expected a number greater than 0"),
        (lambda: ScheduledTemperature(minimum=-1), "minimum: got -1, expected a number greater than 0"),
        (lambda: ScheduledTemperature(initial=9), "initial: got 9, expected it from minimum 4.0 to maximum 8.0"),
        (lambda: ScheduledTemperature(minimum=9), "initial: got 8.0, expected it from minimum 9 to maximum 8.0"),
        (lambda: ScheduledTemperature(curve=0), "curve: got 0, expected above 0 and at most 1"),
        (lambda: ScheduledTemperature(momentum=1), "momentum: got 1, expected at least 0 and below 1"),
        (lambda: LearnedTemperature(start=0), "start: got 0, expected a number greater than 0"),
        (lambda: LearnedTemperature(span=-2), "span: got -2, expected a number greater than 0"),
        (lambda: LearnedTemperature(curriculum=2), "curriculum: got 2, expected a share above 0 and at most 1"),
        (lambda: limbeck.methods.create("dts", initial=9), "dts.initial: got 9.0, expected it from minimum 4.0"),
        (lambda: limbeck.methods.create("dts", momentum=1), "dts.momentum: got 1, input should be less than 1"),
        (lambda: limbeck.methods.create("ctkd", curriculum=0), "ctkd.curriculum: got 0, input should be greater"),
        (lambda: limbeck.methods.create("lskd", kd_weight=-1), "lskd.kd_weight: got -1, input should be greater"),
    ],
)
def test_mistakes_are_one_clear_line(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_lskd_is_its_equation(batch):
    student, teacher = net(0), net(1)
    out = limbeck.Distiller(student, teacher, method="lskd")(*batch)
    z, t = (standardize_logits(side(batch[0])) for side in (student, teacher))
    torch.testing.assert_close(out.parts["kd"], 9 * kd_loss(z, t, temperature=2.0))
    torch.testing.assert_close(out.parts["ce"], nn.functional.cross_entropy(student(batch[0]), batch[1]))


def test_lskd_stands_before_other_losses(batch):
    student, teacher = net(0), net(1)
    out = limbeck.Distiller(student, teacher, method="lskd+dist")(*batch)
    z, t = (standardize_logits(side(batch[0])) for side in (student, teacher))
    assert set(out.parts) == {"ce", "dist"}
    torch.testing.assert_close(out.parts["dist"], dist_loss(z, t, temperature=4.0, beta=2.0, gamma=2.0))
    dkd = limbeck.Distiller(student, teacher, method="lskd+dkd")(*batch)
    again = limbeck.methods.create("dkd").terms[0].build(4)(z, t, batch[1])
    torch.testing.assert_close(dkd.parts["dkd"], again)


@pytest.mark.parametrize(("method", "temperature"), [("dts", 8.0), ("ctkd", 1 + 20 / (1 + math.exp(-1)))])
def test_losses_beside_a_temperature_run_at_one_and_are_scaled(batch, method, temperature):
    student, teacher = net(0), net(1)
    expected = kd_loss(student(batch[0]), teacher(batch[0]), temperature=temperature)
    for name in (method, f"{method}+kd", f"kd+{method}"):
        out = limbeck.Distiller(student, teacher, method=name, epochs=4)(*batch, epoch=0)
        torch.testing.assert_close(out.parts["kd"], 0.9 * expected)
    distiller = limbeck.Distiller(student, teacher, method=f"{method}+dist", epochs=4)
    logits = student(batch[0]), teacher(batch[0])
    relations = dist_loss(*logits, temperature=temperature, beta=2.0, gamma=2.0)
    torch.testing.assert_close(distiller(*batch, epoch=0).parts["dist"], relations)


def test_modifiers_compose_in_the_order_written(batch):
    student, teacher = net(0), net(1)
    out = limbeck.Distiller(student, teacher, method="lskd+dts", epochs=4)(*batch, epoch=0)
    z, t = (standardize_logits(side(batch[0])) for side in (student, teacher))
    torch.testing.assert_close(out.parts["kd"], 0.9 * kd_loss(z, t, temperature=8.0))


def test_a_distiller_trains_and_saves_what_modifiers_hold(batch):
    distiller = limbeck.Distiller(net(0), net(1), method="ctkd", epochs=4)
    assert [parameter.shape for parameter in distiller.extra_parameters()] == [()]
    distiller(*batch, epoch=2).loss.backward()
    assert distiller.modifiers[0].theta.grad != 0
    assert "modifiers.0.theta" in distiller.state_dict()
    distiller = limbeck.Distiller(net(0), net(1), method="dts", epochs=4)
    distiller(*batch, epoch=3)
    assert distiller.state_dict()["modifiers.0.temperature"] < 8
    with pytest.raises(UserError, match="follows the epochs, pass epochs="):
        limbeck.Distiller(net(0), net(1), method="dts")(*batch, epoch=0)
    with pytest.raises(UserError, match="epoch: got None, expected the epoch, from 0: method 'dts' changes with it"):
        limbeck.Distiller(net(0), net(1), method="dts", epochs=4)(*batch)
