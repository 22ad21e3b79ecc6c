"""A teacher's share of the labels and the temperatures behind it, against searches in float64."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from limbeck.errors import UserError
from limbeck.selection import (
    calibrated_probabilities,
    halves,
    nll_temperature,
    responsibilities,
    teacher_share,
)


def golden(function, low, high, steps=200):
    """Golden-section search of a maximum, in float64."""
    ratio = (np.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    for _ in range(steps):
        if function(a) < function(b):
            low, a = a, b
            b = low + ratio * (high - low)
        else:
            high, b = b, a
            a = high - ratio * (high - low)
    return (low + high) / 2


def em(q, s, steps=200_000):
    share = 0.5
    for _ in range(steps):
        share, before = (share * q / (share * q + (1 - share) * s)).mean(), share
        if abs(share - before) < 1e-15:
            break
    return share


def pair(seed, rows=400, mix=0.5):
    generator = np.random.default_rng(seed)
    q, s = generator.beta(2, 2, rows), generator.beta(2, 2, rows)
    # Of some rows the teacher knows more.
    return np.where(generator.random(rows) < mix, np.maximum(q, s), np.minimum(q, s)), s


@pytest.mark.parametrize("mix", [0.5, 0.62, 0.7, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_is_that_of_a_golden_section_search_and_of_em(seed, mix):
    q, s = pair(seed, mix=mix)
    share = teacher_share(torch.tensor(q), torch.tensor(s))
    assert share == pytest.approx(golden(lambda x: np.log(x * q + (1 - x) * s).sum(), 0, 1), abs=1e-6)
    assert share == pytest.approx(em(q, s), abs=1e-4)


def test_a_mixture_gives_its_share_back():
    generator = torch.Generator().manual_seed(0)
    rows, true = 200_000, 0.3
    q, s = torch.rand(2, rows, generator=generator, dtype=torch.float64)
    by_teacher = torch.rand(rows, generator=generator) < true
    drawn = torch.where(by_teacher, q, s) > torch.rand(rows, generator=generator)
    share = teacher_share(torch.where(drawn, q, 1 - q), torch.where(drawn, s, 1 - s))
    assert share == pytest.approx(true, abs=0.01)


def test_its_ends_and_its_middle():
    better, worse = torch.tensor([0.9, 0.8]), torch.tensor([0.5, 0.1])
    assert teacher_share(better, worse) == 1.0
    assert teacher_share(worse, better) == 0.0
    assert teacher_share(better, better) == 0.5
    assert teacher_share(torch.zeros(2), torch.zeros(2)) == 0.5
    # One row that the teacher calls impossible forbids a share of 1, one such row of the student a share of 0.
    assert 0 < teacher_share(torch.tensor([1.0] * 99 + [0.0]), torch.full((100,), 0.5)) < 1
    assert 0 < teacher_share(torch.full((100,), 0.5), torch.tensor([1.0] * 99 + [0.0])) < 1
    assert teacher_share(torch.tensor([0.5]), torch.tensor([0.25])) == 1.0


def test_responsibilities_average_to_the_share():
    q, s = (torch.tensor(part) for part in pair(3, mix=0.65))
    share = teacher_share(q, s)
    rows = responsibilities(q, s, share)
    assert 0 < share < 1
    assert rows.mean().item() == pytest.approx(share, abs=1e-9)
    assert torch.equal(responsibilities(torch.zeros(2), torch.zeros(2), 0.25), torch.full((2,), 0.25).double())
    np.testing.assert_allclose(rows, share * q / (share * q + (1 - share) * s))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
def test_the_temperature_is_that_of_a_search(scale, device, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 7, generator=generator)
    labels = torch.distributions.Categorical(logits=logits / 3).sample()
    logits = (scale * logits).to(device, dtype)
    plain = logits.cpu().double().numpy()

    def nll(log_t):
        return -log_softmax(plain / np.exp(log_t), axis=1)[np.arange(500), labels].mean()

    center = np.log(3 * scale)
    found = minimize_scalar(nll, bounds=(center - 3, center + 3), method="bounded", options={"xatol": 1e-9})
    assert nll_temperature(logits, labels.to(device)) == pytest.approx(np.exp(found.x), rel=1e-4)


def test_temperatures_without_an_optimum_are_finite():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert nll_temperature(logits, torch.tensor([0, 1])) < 0.01
    assert nll_temperature(logits, torch.tensor([1, 0])) > 100
    assert nll_temperature(torch.zeros(2, 3), torch.tensor([1, 0])) == 1.0
    assert nll_temperature(torch.tensor([[3e38, -3e38]]), torch.tensor([1])) < float("inf")


def test_a_row_is_calibrated_by_the_other_half():
    generator = torch.Generator().manual_seed(1)
    logits, labels = 4 * torch.randn(300, 5, generator=generator), torch.randint(5, (300,), generator=generator)
    labels = torch.where(torch.rand(300, generator=generator) < 0.7, logits.argmax(1), labels)
    half = torch.arange(300) < 120
    p = calibrated_probabilities(logits, labels, half)
    for part in (half, ~half):
        cold = (logits[part].double() / nll_temperature(logits[~part], labels[~part])).softmax(1)
        torch.testing.assert_close(p[part], cold[torch.arange(int(part.sum())), labels[part]])
    alone = calibrated_probabilities(logits, labels, torch.zeros(300, dtype=torch.bool))
    hot = (logits.double() / nll_temperature(logits, labels)).softmax(1)
    torch.testing.assert_close(alone, hot[torch.arange(300), labels])


def test_halves_are_stratified_and_belong_to_the_positions():
    labels, indices = torch.arange(1000) % 7, torch.arange(1000)
    first = halves(labels, indices, seed=0)
    assert 498 <= int(first.sum()) <= 504
    assert (labels[first].bincount() - labels[~first].bincount()).abs().max() <= 1
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(halves(labels[order], indices[order], seed=0), first[order])
    assert not torch.equal(halves(labels, indices, seed=1), first)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: teacher_share(torch.zeros(0), torch.zeros(0)), r"teacher_p and student_p: got \(0,\) and \(0,\)"),
        (lambda: teacher_share(torch.zeros(2), torch.zeros(3)), r"got \(2,\) and \(3,\)"),
        (lambda: teacher_share(torch.tensor([1.5]), torch.zeros(1)), "teacher_p: got"),
        (lambda: teacher_share(torch.zeros(1), torch.tensor([torch.nan])), "student_p: got"),
        (lambda: nll_temperature(torch.zeros(0, 3), torch.zeros(0).long()), "logits: got no rows"),
        (lambda: nll_temperature(torch.tensor([[torch.inf, 0.0]]), torch.zeros(1).long()), "logits: got nan or inf"),
        (lambda: nll_temperature(torch.zeros(1, 3), torch.tensor([3])), "labels: got values from 3 to 3"),
        (lambda: calibrated_probabilities(torch.zeros(2, 3), torch.zeros(2).long(), torch.zeros(2)), "half: got"),
    ],
)
def test_bad_input_has_one_clear_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
