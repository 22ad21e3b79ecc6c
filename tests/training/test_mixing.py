"""Mixup and CutMix: by hand, replayable, each sample with the larger share of its own."""

import numpy as np
import pytest
import torch

from limbeck.data.batch import Batch
from limbeck.errors import UserError
from limbeck.tasks import Classification
from limbeck.training.mixing import Mixer
from limbeck.training.settings import MixSettings


def mixer(seed=0, **settings):
    return Mixer(MixSettings(**settings), Classification(3), seed=seed)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.randn(5, 2, 8, 6), torch.tensor([0, 1, 2, 1, 0]), torch.arange(10, 15))


def test_mixup_by_hand(batch):
    seen = set()
    for step in range(40):
        mixed = mixer(mixup=0.4)(batch, 3, step)
        drawn = mixer(mixup=0.4).draw(3, step).share
        share = max(drawn, 1 - drawn)
        seen.add(share)
        for row in range(5):
            expected = share * batch.inputs[row] + (1 - share) * batch.inputs[4 - row]
            torch.testing.assert_close(mixed.inputs[row], expected)
            soft = np.zeros(3)
            soft[int(batch.targets[row])] += share
            soft[int(batch.targets[4 - row])] += 1 - share
            np.testing.assert_allclose(mixed.targets[row].numpy(), soft, rtol=1e-6)
        assert torch.equal(mixed.targets.argmax(1), batch.targets)
        assert torch.equal(mixed.indices, batch.indices)
    assert len(seen) == 40


def test_cutmix_by_hand(batch):
    pasted = 0
    for step in range(60):
        mixed = mixer(cutmix=1.0)(batch, 0, step)
        for row in range(5):
            own = (mixed.inputs[row] == batch.inputs[row]).all(0)
            other = (mixed.inputs[row] == batch.inputs[4 - row]).all(0)
            assert (own | other).all()
            share = float(own.float().mean())
            expected = torch.zeros(3)
            expected[batch.targets[row]] += share
            expected[batch.targets[4 - row]] += 1 - share if row != 2 else 0
            torch.testing.assert_close(mixed.targets[row], expected)
            assert share >= 0.5
        pasted += not torch.equal(mixed.inputs, batch.inputs)
    assert pasted > 40


def test_shares_have_the_beta_distribution():
    drawn = torch.tensor([mixer(mixup=0.3).draw(0, step).share for step in range(4000)])
    expected = torch.distributions.Beta(0.3, 0.3)
    assert abs(float(drawn.mean()) - 0.5) < 0.02
    assert abs(float(drawn.var()) - float(expected.variance)) < 0.01


def test_both_by_switch_and_probability():
    drawn = [mixer(mixup=0.5, cutmix=1.0, probability=0.75, switch=0.2).draw(1, step) for step in range(4000)]
    unmixed = sum(entry.share == 1 for entry in drawn)
    cut = sum(entry.center is not None for entry in drawn)
    assert abs(unmixed / 4000 - 0.25) < 0.03
    assert abs(cut / 4000 - 0.75 * 0.2) < 0.03


def test_it_is_a_function_of_seed_epoch_and_step(batch):
    both = {"mixup": 0.5, "cutmix": 1.0}
    first = mixer(seed=1, **both)(batch, 2, 3)
    torch.rand(7)
    again = mixer(seed=1, **both)(batch, 2, 3)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    others = [mixer(seed=2, **both).draw(2, 3), mixer(seed=1, **both).draw(3, 3), mixer(seed=1, **both).draw(2, 4)]
    assert len({mixer(seed=1, **both).draw(2, 3), *others}) == 4


def test_a_batch_that_is_not_mixed_has_soft_labels_too(batch):
    never = mixer(mixup=1.0, probability=1e-9)(batch, 0, 1)
    assert torch.equal(never.inputs, batch.inputs)
    assert torch.equal(never.targets, torch.nn.functional.one_hot(batch.targets, 3).float())


def test_the_memory_format_stays(batch):
    inputs = batch.inputs.contiguous(memory_format=torch.channels_last)
    for settings in ({"mixup": 1.0}, {"cutmix": 1.0}):
        mixed = [mixer(**settings)(batch._replace(inputs=inputs), 0, step).inputs for step in range(6)]
        assert all(entry.is_contiguous(memory_format=torch.channels_last) for entry in mixed)


@pytest.mark.parametrize(
    ("changed", "settings", "message"),
    [
        ({"targets": torch.tensor([0, 1, -100, 1, 0])}, {"mixup": 1.0}, "labels: got values from -100 to 1, expected"),
        ({"inputs": torch.zeros(5, 4)}, {"cutmix": 1.0}, r"training.mix.cutmix: got inputs \(5, 4\), expected images"),
        ({"inputs": {"x": torch.zeros(5)}}, {"mixup": 1.0}, "training.mix: got inputs of dict, expected a tensor"),
        ({"inputs": torch.zeros(5, 4).long()}, {"mixup": 1.0}, "training.mix: got inputs of torch.int64, expected"),
    ],
)
def test_what_cannot_be_mixed(batch, changed, settings, message):
    with pytest.raises(UserError, match=message):
        mixer(**settings)(batch._replace(**changed), 0, 1)
