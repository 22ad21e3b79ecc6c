import math

import pytest
import torch

from limbeck.errors import UserError
from limbeck.selection import choose, choose_stratified


def _reference(scores: list[float], number: int) -> set[int]:
    return set(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:number])


def _kept(mask: torch.Tensor) -> set[int]:
    return set(mask.nonzero().flatten().tolist())


@pytest.fixture
def scores() -> torch.Tensor:
    # One decimal, so that many are equal and the order of equal ones is put to the test.
    return torch.randn(101, generator=torch.Generator().manual_seed(0)).round(decimals=1)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(5, (101,), generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize("ratio", [0.001, 0.25, 0.5, 0.8, 1.0, 1])
def test_keeps_the_highest_and_the_earlier_of_equals(scores, ratio):
    expected = _reference(scores.tolist(), max(1, math.floor(ratio * 101 + 0.5)))
    assert _kept(choose(scores, ratio)) == expected


@pytest.mark.parametrize("ratio", [0.001, 0.25, 0.5, 0.8, 1.0])
def test_each_class_keeps_its_share(scores, labels, ratio):
    mask, expected = choose(scores, ratio, labels=labels), set()
    for label in labels.unique():
        rows = (labels == label).nonzero().flatten().tolist()
        number = max(1, math.floor(ratio * len(rows) + 0.5))
        expected |= {rows[i] for i in _reference(scores[rows].tolist(), number)}
    assert _kept(mask) == expected


@pytest.mark.parametrize(("rows", "ratio", "kept"), [(10, 0.25, 3), (100, 0.145, 15), (3, 0.5, 2), (3, 1 / 3, 1)])
def test_halves_are_rounded_up_as_written(rows, ratio, kept):
    scores = torch.zeros(rows)
    assert choose(scores, ratio).tolist() == [True] * kept + [False] * (rows - kept)
    assert choose(scores, ratio, labels=torch.zeros(rows, dtype=torch.int64)).sum() == kept
    assert choose_stratified(scores, ratio, torch.zeros(rows, dtype=torch.int64)).sum() == kept


def test_nan_ranks_below_every_number():
    scores = torch.tensor([math.nan, -5.0, 2.0, math.nan])
    assert choose(scores, 0.5).tolist() == [False, True, True, False]
    assert choose(scores, 0.5, labels=torch.zeros(4, dtype=torch.int64)).tolist() == [False, True, True, False]


def test_stratified_keeps_the_exact_total_where_classes_are_small(scores):
    classes = torch.arange(101) % 80
    assert choose(scores, 0.5, labels=classes).sum() > 70
    assert choose_stratified(scores, 0.5, classes).sum() == 51


def test_stratified_is_a_plain_ranking_where_no_class_repeats(scores):
    assert torch.equal(choose_stratified(scores, 0.3, torch.arange(101).flip(0)), choose(scores, 0.3))


def test_stratified_equals_per_class_where_the_shares_are_whole(scores):
    classes = torch.arange(100) % 4
    expected = choose(scores[:100], 0.4, labels=classes)
    assert torch.equal(choose_stratified(scores[:100], 0.4, classes), expected)


def test_stratified_differs_from_the_even_share_by_less_than_one_row_a_class(scores, labels):
    mask = choose_stratified(scores, 0.6, labels)
    for label in labels.unique():
        rows = labels == label
        assert abs(int(mask[rows].sum()) - 0.6 * int(rows.sum())) < 1
        assert scores[rows & mask].min() >= scores[rows & ~mask].max()


@pytest.mark.parametrize("labels", [None, torch.empty(0, dtype=torch.int64)])
def test_no_rows_give_an_empty_mask(labels):
    mask = choose(torch.empty(0), 0.5, labels=labels)
    assert mask.dtype == torch.bool
    assert len(mask) == 0


def test_one_row_is_kept():
    assert choose(torch.tensor([-1.0]), 0.01).tolist() == [True]
    assert choose_stratified(torch.tensor([-1.0]), 0.01, torch.tensor([9])).tolist() == [True]


@pytest.mark.parametrize("ratio", [0, -0.1, 1.01, math.nan])
def test_a_ratio_out_of_range_is_refused(scores, labels, ratio):
    with pytest.raises(UserError, match=rf"ratio: got {ratio}, expected a number above 0 and at most 1"):
        choose(scores, ratio)
    with pytest.raises(UserError, match=rf"ratio: got {ratio}"):
        choose_stratified(scores, ratio, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (torch.zeros(2, 2), None, r"scores: got \(2, 2\) torch.float32, expected floats of shape \(N,\)"),
        (torch.zeros(2, dtype=torch.int64), None, r"scores: got \(2,\) torch.int64, expected floats of shape \(N,\)"),
        (
            torch.zeros(2),
            torch.zeros(3, dtype=torch.int64),
            r"labels: got \(3,\) torch.int64, expected 2 whole numbers",
        ),
        (torch.zeros(2), torch.zeros(2), r"labels: got \(2,\) torch.float32, expected 2 whole numbers"),
    ],
)
def test_wrong_tensors_are_refused(scores, labels, message):
    with pytest.raises(UserError, match=message):
        choose(scores, 0.5, labels=labels)
