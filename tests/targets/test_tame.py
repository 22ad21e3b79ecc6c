"""Taming: the temperature against an independent root search, and what it does to logits."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax

from limbeck.errors import UserError
from limbeck.targets import Taming, mean_confidence, tame_logits, taming_temperature


def confidence(logits, tau):
    return softmax(logits / tau, axis=1).max(axis=1).mean()


def exact(logits, most):
    logits = logits.detach().cpu().double().numpy()
    if confidence(logits, 1.0) <= most:
        return 1.0
    return brentq(lambda tau: confidence(logits, tau) - most, 1.0, 1e5, xtol=1e-13, rtol=1e-13)


def logits_of(rows=200, classes=10, scale=5.0, seed=0):
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("most", [0.35, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0, 1e3])
def test_the_temperature_is_that_of_a_root_search(scale, most, device, dtype):
    for rows, classes in ((1, 10), (300, 4), (50, 100)):
        logits = logits_of(rows, classes, scale).to(device, dtype)
        tau = taming_temperature(logits, most)
        assert tau == pytest.approx(exact(logits, most), rel=1e-5)
        assert mean_confidence(logits, tau) <= most
        assert tau >= 1


def test_it_is_the_smallest():
    logits = logits_of()
    tau = taming_temperature(logits, 0.6)
    assert mean_confidence(logits, 0.9999 * tau) > 0.6


@pytest.mark.parametrize("scale", [1e-6, 0.05, 1.0, 3.0])
def test_a_teacher_of_small_logits_is_sharpened_where_that_is_wanted(scale):
    logits = logits_of(scale=scale).double()
    tau = taming_temperature(logits, 0.6, sharpen=True)
    found = brentq(lambda log: confidence(logits.numpy(), np.exp(log)) - 0.6, np.log(1e-9), np.log(1e3), xtol=1e-12)
    assert tau == pytest.approx(np.exp(found), rel=1e-5)
    assert mean_confidence(logits, tau) == pytest.approx(0.6, abs=1e-5)
    surer = logits_of(scale=30)
    assert taming_temperature(surer, sharpen=True) == taming_temperature(surer)


def test_what_cannot_be_sharpened_stays():
    assert taming_temperature(torch.zeros(3, 4), sharpen=True) == 1.0
    assert taming_temperature(torch.tensor([[2.0, 2.0, 1.0]]), sharpen=True) == 1.0


def test_the_mean_confidence_is_that_of_a_softmax(device, dtype):
    logits = logits_of(30).to(device, dtype)
    assert mean_confidence(logits, 2.0) == pytest.approx(confidence(logits.cpu().double().numpy(), 2.0), abs=1e-12)


def test_logits_of_any_size_have_one():
    for logits in (torch.tensor([[3e38, -3e38, 0.0]]), torch.tensor([[1e30, 0.0], [0.0, 1e-30]])):
        assert mean_confidence(logits, taming_temperature(logits, 0.76)) <= 0.76


def test_equal_logits_and_ties_need_none():
    assert taming_temperature(torch.zeros(3, 2), 0.6) == 1.0
    assert taming_temperature(torch.tensor([[9.0, 9.0, -9e4]]), 0.6) == 1.0


def test_the_order_and_the_copies_of_rows_do_not_matter():
    logits = logits_of()
    tau = taming_temperature(logits)
    assert taming_temperature(logits.flip(0)) == pytest.approx(tau, rel=1e-5)
    assert taming_temperature(torch.cat([logits, logits])) == pytest.approx(tau, rel=1e-5)
    assert taming_temperature(7 * logits) == pytest.approx(7 * tau, rel=1e-5)


def test_tamed_logits_are_divided_in_fp32_and_the_input_stays(device, dtype):
    logits = logits_of(8).to(device, dtype)
    before = logits.clone()
    tamed = tame_logits(logits, 3.0)
    assert tamed.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(tamed.cpu().double(), before.cpu().double() / 3, rtol=1e-6)
    assert torch.equal(tamed, tame_logits(logits, torch.tensor(3.0, device=device)))
    assert torch.equal(logits, before)
    assert torch.equal(tamed.argmax(1), logits.argmax(1))


def test_no_rows_are_tamed_to_none():
    assert tame_logits(torch.zeros(0, 3), 2.0).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: taming_temperature(torch.zeros(0, 3)), "teacher_logits: got no rows"),
        (lambda: taming_temperature(torch.tensor([[torch.nan, 0.0]])), "teacher_logits: got nan or inf"),
        (lambda: taming_temperature(torch.tensor([[torch.inf, 0.0]])), "teacher_logits: got nan or inf"),
        (lambda: taming_temperature(torch.zeros(3)), "teacher_logits"),
        (
            lambda: taming_temperature(torch.zeros(2, 4), 0.25),
            r"max_confidence: got 0.25, expected a number above 0.25",
        ),
        (lambda: taming_temperature(torch.zeros(2, 4), 1.5), "max_confidence: got 1.5"),
        (lambda: tame_logits(torch.zeros(2, 2), 0.0), "tau: got 0"),
        (lambda: tame_logits(torch.zeros(2, 2, dtype=torch.long), 1.0), "teacher_logits"),
        (lambda: Taming(max_confidence=0.0), "max_confidence: got 0.0, expected 'auto' or a number above 0"),
        (lambda: Taming(max_confidence="most"), "max_confidence: got 'most', expected 'auto' or"),
        (lambda: Taming(max_confidence=True), "max_confidence: got True, input should be a number"),
        (lambda: Taming().check(2) or Taming(max_confidence=0.5).check(2), "max_confidence: got 0.5"),
    ],
)
def test_bad_input_has_one_clear_line(call, message):
    with pytest.raises((UserError, ValueError), match=message) as error:
        call()
    if isinstance(error.value, UserError):
        assert "\n" not in str(error.value)
