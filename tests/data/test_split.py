import pytest
import torch

from limbeck.data.split import hold_out, limit
from limbeck.errors import UserError

LABELS = torch.tensor([0] * 50 + [1] * 20 + [2] * 3)[torch.randperm(73, generator=torch.Generator().manual_seed(0))]


def test_hold_out_takes_the_share_of_each_class_and_loses_nothing():
    stay, cut = hold_out(LABELS, 0.3, seed=0)
    assert LABELS[cut].bincount().tolist() == [15, 6, 1]
    assert torch.cat([stay, cut]).sort().values.tolist() == list(range(73))


def test_hold_out_leaves_one_of_each_class():
    stay, cut = hold_out(torch.tensor([0, 1, 1]), 0.99, seed=0)
    assert len(stay) == 2
    assert len(cut) == 1
    assert torch.tensor([0, 1, 1])[stay].unique().tolist() == [0, 1]


def test_limit_is_even_as_far_as_there_are_samples():
    assert LABELS[limit(LABELS, 33, seed=0)].bincount().tolist() == [15, 15, 3]
    counts = LABELS[limit(LABELS, 32, seed=0)].bincount().tolist()
    assert counts[2] == 3
    assert sorted(counts[:2]) == [14, 15]
    assert limit(LABELS, 73, seed=0).tolist() == list(range(73))


@pytest.mark.parametrize("choose", [lambda s: hold_out(LABELS, 0.3, seed=s)[1], lambda s: limit(LABELS, 30, seed=s)])
def test_choices_depend_on_the_seed_alone(choose):
    assert torch.equal(choose(1), choose(1))
    assert not torch.equal(choose(1), choose(2))


def test_over_many_seeds_every_sample_is_chosen_equally_often():
    labels = torch.tensor([0, 1] * 10)
    times = torch.stack([limit(labels, 4, seed=s) for s in range(400)]).view(-1).bincount(minlength=20)
    assert times.min() > 50  # 80 expected, standard deviation 8
    assert times.max() < 110


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 0.01])
def test_hold_out_refuses_useless_shares(share):
    with pytest.raises(UserError, match=f"got a share of {share}"):
        hold_out(torch.tensor([0, 0, 1, 1]), share, seed=0)


@pytest.mark.parametrize("count", [2, 74])
def test_limit_refuses_impossible_counts(count):
    with pytest.raises(UserError, match=f"data.train_limit: got {count}, expected 3 .* to 73"):
        limit(LABELS, count, seed=0)
