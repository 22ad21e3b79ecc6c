"""What networks cost: multiplications counted by hand, and trials that leave everything as it was."""

import copy
import warnings

import pytest
import torch
from torch import nn

from limbeck.build.context import Context
from limbeck.build.trial import Trial, multiply_adds, peak_memory, tried
from limbeck.recipes.loading import load_recipe
from limbeck.tasks import Classification
from limbeck.training import TrainingSettings

TASK = Classification(3)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(4, 5, batch_first=True)

    def forward(self, inputs):
        return self.cells(inputs)[0][:, -1]


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, inputs):
        return self.layers(inputs)[:, 0]


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (nn.Linear(5, 3), (5,), 15),
        (nn.Conv2d(3, 4, 3, padding=1), (3, 8, 8), 64 * 4 * 27),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 8, 8), 64 * 4 * 9),
        # Four gates of five cells at seven places, from four inputs and five outputs.
        (Recurrent(), (7, 4), 7 * 4 * 5 * (4 + 5)),
        # Projections, the two layers behind them, and 7 x 7 products of length 4 for two heads, twice.
        (Attentive(), (7, 8), 7 * (3 * 64 + 64 + 2 * 8 * 16) + 2 * 2 * 7 * 7 * 4),
    ],
)
def test_multiplications_by_hand(network, shape, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert multiply_adds(network, torch.zeros(1, *shape), TASK) == expected
        assert multiply_adds(network, torch.zeros(3, *shape), TASK) == 3 * expected


def test_a_training_takes_its_steps_and_measurements():
    settings = TrainingSettings(epochs=5, evaluate_every=2)
    assert Trial(4, 1.0, 2.0, 10.0).training(settings) == 5 * 4 * 3 + 3 * 10
    # Two workers make a batch in half a second, while a step takes two.
    assert Trial(4, 1.0, 2.0, 10.0).training(settings, workers=2) == 5 * 4 * 2 + 3 * 10
    assert Trial(4, 9.0, 2.0, 0.0).training(settings, workers=2, teacher=1.0) == 5 * 4 * 4.5
    # The kept epoch is measured once more, and a temperature takes a pass over what is measured.
    choosing = TrainingSettings(epochs=5, evaluate_every=2, keep="best", temperature_scaling=True)
    assert Trial(4, 1.0, 2.0, 10.0).training(choosing) == 5 * 4 * 3 + 5 * 10


@pytest.mark.parametrize("changes", [{}, {"training.epochs": 1, "training.batch_size": 60}, {"data.workers": 2}])
def test_a_trial_leaves_the_network_and_the_generators(tiny, changes):
    context = Context(load_recipe(tiny, changes))
    network = context.student().module
    before, state = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    trial = tried(context, network, context.recipe.training)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert trial.steps == -(-60 // context.recipe.training.batch_size)
    assert min(trial.step, trial.measuring) > 0 <= trial.loading


def test_memory_is_that_of_the_process():
    before, kept = peak_memory(torch.device("cpu")), torch.ones(30_000_000)
    assert peak_memory(torch.device("cpu")) >= before
    assert kept.numel() * 4 < peak_memory(torch.device("cpu"))
