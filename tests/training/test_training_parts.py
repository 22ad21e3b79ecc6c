"""Optimizers, schedules, precision, measuring and the tally, each against an independent reckoning."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from torch import nn

from limbeck.data import Batch
from limbeck.distiller import Output
from limbeck.errors import UserError
from limbeck.training import (
    EpochMeter,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
    build_optimizer,
    build_schedule,
    measure,
    resolve_precision,
)
from limbeck.validation import validated


def rates(settings, epochs=4, steps=5, lr=1.0):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr)
    schedule = build_schedule(optimizer, ScheduleSettings(**settings), epochs=epochs, steps=steps)
    found = []
    for _ in range(epochs * steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return np.array(found)


def test_multi_step_drops_at_its_epochs():
    found = rates({"name": "multi_step", "milestones": (1, 3), "gamma": 0.1})
    np.testing.assert_allclose(found, [1] * 5 + [0.1] * 10 + [0.01] * 5)


def test_warmup_rises_linearly_and_keeps_the_milestones():
    found = rates({"name": "multi_step", "milestones": (2,), "gamma": 0.1, "warmup_epochs": 1})
    np.testing.assert_allclose(found[:5], [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    np.testing.assert_allclose(found[5:], [1] * 5 + [0.1] * 10)


def test_cosine_ends_near_its_minimum():
    found = rates({"name": "cosine", "min_lr": 0.1})
    expected = 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(20) / 20)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_linear_and_constant():
    np.testing.assert_allclose(rates({"name": "linear"}), 1 - np.arange(20) / 20, rtol=1e-6)
    np.testing.assert_allclose(rates({"name": "constant"}), np.ones(20))


def test_one_cycle_peaks_at_the_rate_given():
    found = rates({"name": "one_cycle", "pct_start": 0.25}, lr=0.1)
    assert found.max() == pytest.approx(0.1)
    assert found.argmax() == 4
    assert found[-1] < 0.001


def torch_rates(schedule, steps=20):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    moving, found = schedule(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        moving.step()
    return found


def test_schedules_are_those_of_torch():
    of = torch.optim.lr_scheduler
    for pct_start in (0.1, 0.25, 0.33):
        one_cycle = torch_rates(
            lambda o, p=pct_start: of.OneCycleLR(o, 1.0, total_steps=21, pct_start=p, cycle_momentum=False)
        )
        ours = rates({"name": "one_cycle", "pct_start": pct_start}, epochs=3, steps=7)
        np.testing.assert_allclose(ours[:20], one_cycle, rtol=1e-9)
    np.testing.assert_allclose(
        rates({"name": "cosine", "min_lr": 0.2}),
        torch_rates(lambda o: of.CosineAnnealingLR(o, 20, eta_min=0.2)),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        rates({"name": "linear", "min_lr": 0.2}), torch_rates(lambda o: of.LinearLR(o, 1.0, 0.2, 20)), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant", "warmup_epochs": 0.8}, [0.020000000000000004, 0.08000000000000002, 0.1, 0.1, 0.1]),
        ({"name": "multi_step", "milestones": (1, 3), "gamma": 0.3}, [0.1, 0.1, 0.03, 0.03, 0.009]),
        (
            {"name": "cosine", "warmup_epochs": 1, "min_lr": 0.001},
            [
                0.016666666666666666,
                0.06666666666666667,
                0.09572050015330874,
                0.05567415893174885,
                0.0020816937636766184,
            ],
        ),
        ({"name": "linear", "min_lr": 0.01}, [0.1, 0.08650000000000001, 0.0685, 0.046, 0.014500000000000002]),
        (
            {"name": "one_cycle", "pct_start": 0.3},
            [0.0040000000000000036, 0.06683281572999748, 0.09504846320134737, 0.050000199999999995, 4e-07],
        ),
    ],
)
def test_rates_are_those_of_earlier_versions_bit_for_bit(settings, expected):
    assert rates(settings, lr=0.1)[[0, 3, 7, 12, 19]].tolist() == expected


def test_a_schedule_resumes_where_a_training_stopped():
    settings, whole = ScheduleSettings(name="one_cycle"), rates({"name": "one_cycle"})
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    build_schedule(optimizer, settings, epochs=4, steps=5)
    assert build_schedule(optimizer, settings, epochs=4, steps=5, done=13).get_last_lr() == [whole[13]]
    assert optimizer.param_groups[0]["lr"] == whole[13]


def test_norms_and_biases_may_go_without_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    settings = OptimizerSettings(name="adamw", lr=0.1, weight_decay=0.1, decay_norm_and_bias=False)
    decayed, plain = build_optimizer(net.parameters(), settings).param_groups
    assert [p.ndim for p in decayed["params"]] == [4]
    assert len(plain["params"]) == 3
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "nadam", "adagrad"])
def test_optimizers_of_torch_by_name(name):
    net = nn.Linear(4, 2)
    before = net.weight.clone()
    optimizer = build_optimizer(net.parameters(), OptimizerSettings(name=name, lr=0.01))
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.weight, before)


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_a_parameter_without_a_gradient_in_the_first_steps(dampening):
    settings = OptimizerSettings(name="sgd", lr=0.1, momentum=0.9, dampening=dampening)
    ends = []
    for build in (lambda p: build_optimizer(p, settings), lambda p: torch.optim.SGD(p, 0.1, 0.9, dampening)):
        torch.manual_seed(0)
        always, later = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        optimizer = build([*always.parameters(), *later.parameters()])
        for step in range(4):
            optimizer.zero_grad()
            hidden = always(torch.ones(2, 3))
            (later(hidden) if step > 1 else hidden).square().sum().backward()
            optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in (*always.parameters(), *later.parameters())]))
    torch.testing.assert_close(*ends)


def test_nothing_to_train():
    with pytest.raises(UserError, match="no parameter that requires a gradient"):
        build_optimizer(nn.Linear(1, 1).requires_grad_(False).parameters(), OptimizerSettings())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": {"name": "sgd", "lr": -1}}, "training.optimizer.lr: got -1"),
        ({"optimizer": "lbfgs"}, "unknown optimizer 'lbfgs'"),
        ({"optimizer": {"name": "sgd", "momentum": "much"}}, "training.optimizer: sgd:"),
        ({"schedule": {"name": "cosine", "milestones": [3]}}, "training.schedule.milestones: got [3.0], expected them"),
        (
            {"schedule": {"name": "one_cycle", "warmup_epochs": 1}},
            "schedule.warmup_epochs: got a number above 0",
        ),
        ({"precision": "fp8"}, "training.precision: got 'fp8'"),
        ({"clip_norm": 0}, "training.clip_norm: got 0"),
        ({"batch_size": 2.5}, "training.batch_size: got 2.5"),
        ({"optimizer": 3}, "training.optimizer: got 3"),
    ],
)
def test_wrong_settings_are_one_line(values, message):
    with pytest.raises(UserError) as error:
        validated(TrainingSettings, values, "training")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_fp16_needs_a_gpu():
    with pytest.raises(UserError, match="got 'fp16' on cpu, expected auto, fp32 or bf16 there"):
        resolve_precision("fp16", "cpu")


@pytest.fixture
def measured():
    generator = torch.Generator().manual_seed(0)
    logits, labels = 2 * torch.randn(500, 8, generator=generator), torch.randint(8, (500,), generator=generator)
    batches = [Batch(logits[i : i + 64], labels[i : i + 64], torch.arange(64)) for i in range(0, 500, 64)]
    return logits, labels, measure(nn.Identity(), batches, 8)


def test_measured_figures(measured):
    logits, labels, found = measured
    p = logits.double().softmax(1).numpy()
    assert found.accuracy == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert found.top5 == pytest.approx(top_k_accuracy_score(labels, p, k=5))
    assert found.loss == pytest.approx(log_loss(labels, p), rel=1e-5)
    assert torch.equal(found.predictions, logits.argmax(1))


def test_calibration_error_is_its_definition(measured):
    logits, labels, found = measured
    p = logits.double().softmax(1)
    confidence, right = p.max(1).values.numpy(), (p.argmax(1) == labels).double().numpy()
    bins = np.clip((confidence * 15).astype(int), 0, 14)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    assert found.ece == pytest.approx(sum(gaps), abs=1e-6)


def test_measuring_gives_the_mode_back_and_leaves_no_gradient():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    net.train()
    mean = net[1].running_mean.clone()
    measure(net, [Batch(torch.ones(5, 4), torch.zeros(5, dtype=torch.long), torch.arange(5))], 3)
    assert net.training
    assert torch.equal(net[1].running_mean, mean)
    assert net[2].weight.grad is None


def test_a_meter_weighs_batches_by_their_size():
    meter = EpochMeter()
    for loss, size in ((1.0, 3), (5.0, 1)):
        value = torch.tensor(loss)
        meter.add(Output(value, {"ce": value}, {}), size, {"accuracy": torch.tensor(size)})
    assert meter.means() == {"loss": 2.0, "ce": 2.0, "accuracy": 1.0}
    assert EpochMeter().means() == {}
