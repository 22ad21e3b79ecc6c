from itertools import pairwise

import pytest
import torch

from limbeck.data.schedule import Schedule
from limbeck.errors import UserError


@pytest.mark.parametrize(
    ("count", "batch", "drop", "bounds"),
    [
        (5, 2, False, (0, 2, 4, 5)),
        (5, 2, True, (0, 2, 4)),
        (4, 2, False, (0, 2, 4)),
        (4, 4, True, (0, 4)),
        (3, 8, False, (0, 3)),
        (0, 2, False, (0,)),
    ],
)
def test_bounds(count, batch, drop, bounds):
    assert Schedule(count, batch, drop_last=drop).bounds == bounds


def test_shuffling_is_a_permutation_of_its_own_for_each_seed_and_epoch():
    orders = [Schedule(100, 10, shuffle=True, seed=s).plan(e).order for s, e in ((0, 0), (0, 1), (1, 0))]
    assert all(order.sort().values.equal(torch.arange(100)) for order in orders)
    assert not any(orders[i].equal(orders[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert orders[0].equal(Schedule(100, 33, shuffle=True, seed=0).plan(0).order)


def test_shuffling_is_even():
    first = torch.stack([Schedule(5, 1, shuffle=True).plan(e).order[0] for e in range(1000)]).bincount(minlength=5)
    assert first.sub(200).abs().max() < 65  # standard deviation 13


@pytest.mark.parametrize(("count", "world"), [(10, 2), (11, 3), (3, 4), (1, 5), (7, 1), (13, 3), (12, 5)])
def test_training_ranks_take_equally_many_steps_and_cover_everything(count, world):
    ranks = [Schedule(count, 2, shuffle=True, rank=r, world_size=world) for r in range(world)]
    whole = Schedule(count, 2, shuffle=True).plan(4).order
    parts = [s.plan(4).order for s in ranks]
    assert len({len(s.bounds) for s in ranks}) == 1
    assert all(end > start for s in ranks for start, end in pairwise(s.bounds))
    places = [r + world * torch.arange(len(part)) for r, part in enumerate(parts)]
    assert all(part.equal(whole.repeat(world)[place]) for part, place in zip(parts, places, strict=True))
    assert torch.cat(parts).unique().equal(torch.arange(count))


@pytest.mark.parametrize(("count", "world"), [(10, 2), (16, 3), (100, 4)])
def test_the_batches_of_all_ranks_are_those_of_one_process(count, world):
    ranks = [Schedule(count, 2, shuffle=True, rank=r, world_size=world).plan(4) for r in range(world)]
    one = Schedule(count, 2 * world, shuffle=True).plan(4)
    for step, (start, end) in enumerate(pairwise(one.bounds)):
        shares = [plan.order[plan.bounds[step] : plan.bounds[step + 1]] for plan in ranks]
        assert torch.cat(shares).sort().values.equal(one.order[start:end].sort().values)


@pytest.mark.parametrize(("count", "world"), [(10, 2), (11, 3), (30, 4)])
def test_without_last_batches_all_ranks_have_whole_ones(count, world):
    ranks = [Schedule(count, 2, shuffle=True, drop_last=True, rank=r, world_size=world) for r in range(world)]
    assert {s.bounds for s in ranks} == {tuple(range(0, count // (2 * world) * 2 + 1, 2))}


@pytest.mark.parametrize(("count", "world"), [(10, 2), (11, 3), (3, 4)])
def test_evaluation_ranks_cover_everything_exactly_once(count, world):
    parts = [Schedule(count, 2, rank=r, world_size=world).plan(0).order for r in range(world)]
    assert torch.cat(parts).sort().values.equal(torch.arange(count))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"batch_size": 11, "drop_last": True}, "batch_size: got 11 with drop_last, expected at most the 10 images"),
        ({"batch_size": 6, "drop_last": True, "world_size": 2}, "expected at most the 5 images"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "rank: got 2 of 2 processes"),
        ({"batch_size": 1, "rank": -1}, "rank: got -1 of 1"),
        ({"batch_size": 1, "world_size": 0}, "rank: got 0 of 0"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        Schedule(10, **options)
