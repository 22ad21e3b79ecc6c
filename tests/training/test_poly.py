"""The schedule ``poly`` against torch's own."""

import pytest
import torch
from torch.optim.lr_scheduler import PolynomialLR

from limbeck.errors import UserError
from limbeck.training import ScheduleSettings, TrainingSettings
from limbeck.training.optimizers import build_schedule
from limbeck.validation import validated


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    schedule, found = make(optimizer), []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_rates_are_torchs(power):
    settings = ScheduleSettings(name="poly", power=power)
    own = rates(lambda optimizer: build_schedule(optimizer, settings, epochs=4, steps=5), 20)
    assert own == pytest.approx(rates(lambda optimizer: PolynomialLR(optimizer, 20, power), 20))


def test_it_ends_at_the_lowest_rate_and_begins_behind_a_warm_up():
    settings = ScheduleSettings(name="poly", warmup_epochs=1, min_lr=0.1)
    own = rates(lambda optimizer: build_schedule(optimizer, settings, epochs=4, steps=5), 21)
    assert own[:5] == pytest.approx([0.4 * step / 6 for step in range(1, 6)])
    assert own[5] == pytest.approx(0.4)
    assert own[-1] == pytest.approx(0.1)


def test_the_power_is_for_poly_alone_and_written_with_it_alone():
    with pytest.raises(UserError, match="power: got 2, expected it with name poly only"):
        validated(ScheduleSettings, {"name": "cosine", "power": 2.0})
    assert "power" not in TrainingSettings().model_dump()["schedule"]
    assert TrainingSettings(schedule="poly").model_dump()["schedule"]["power"] == 0.9
