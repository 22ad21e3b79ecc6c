"""How a row of logits is stored: what comes back, and how far from what went in."""

import math

import numpy as np
import pytest
import torch

from limbeck.cache import RowFormat
from limbeck.errors import UserError


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1001])
def test_float32_comes_back_bit_for_bit(classes):
    logits = torch.randn(5, classes) * 1e10 ** torch.randn(5, classes)
    form = RowFormat(classes, "float32")
    assert form.bytes == 4 * classes
    assert torch.equal(form.decode(form.encode(logits)), logits)


@pytest.mark.parametrize("classes", [2, 3, 10, 101])
def test_float16_is_the_nearest_float16(classes):
    logits = torch.randn(50, classes) * 10
    form = RowFormat(classes)
    assert form.bytes == 4 * math.ceil(classes / 2)
    back = form.decode(form.encode(logits))
    assert np.array_equal(back.numpy(), logits.numpy().astype(np.float16).astype(np.float32))
    # Half a unit in the last of 11 bits, down to the smallest normal number of float16.
    assert ((back - logits).abs() <= 2.0**-11 * logits.abs().clamp(min=2**-14)).all()


def test_bf16_fits_in_float16():
    logits = (torch.randn(50, 10) * 10).bfloat16()
    form = RowFormat(10)
    assert torch.equal(form.decode(form.encode(logits)), logits.float())


def test_nan_and_inf_come_back():
    logits = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1.0]])
    for dtype in ("float16", "float32"):
        form = RowFormat(4, dtype)
        assert form.decode(form.encode(logits)).tolist()[0][1:] == [torch.inf, -torch.inf, 1.0]
        assert form.decode(form.encode(logits))[0, 0].isnan()


def test_a_logit_too_large_for_float16():
    with pytest.raises(UserError, match="got 'float16', but a logit of the teacher is 7e\\+04, expected 'float32'"):
        RowFormat(2).encode(torch.tensor([[1.0, 70_000.0]]))


@pytest.mark.parametrize(("classes", "top_k"), [(5, 1), (10, 3), (10, 9), (40_000, 7)])
def test_top_k_keeps_the_largest_probabilities_and_shares_the_rest(classes, top_k):
    logits = torch.randn(6, classes) * 3
    form = RowFormat(classes, "float32", top_k)
    back = form.decode(form.encode(logits)).double().softmax(1)
    p = logits.double().softmax(1)
    largest, where = p.topk(top_k, dim=1)
    torch.testing.assert_close(back.gather(1, where), largest, rtol=1e-5, atol=1e-8)
    rest = (1 - largest.sum(1, keepdim=True)) / (classes - top_k)
    expected = rest.expand(-1, classes).scatter(1, where, largest)
    torch.testing.assert_close(back, expected, rtol=1e-4, atol=1e-8)


def test_top_k_is_small():
    assert RowFormat(1000, top_k=10).bytes == 44
    assert RowFormat(40_000, top_k=10).bytes == 4 * 6 + 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float8"}, "teacher.cache_dtype: got 'float8', expected 'float16' or 'float32'"),
        ({"top_k": 10}, "teacher.cache_top_k: got 10, expected 1 to 9"),
        ({"top_k": 0}, "teacher.cache_top_k: got 0, expected 1 to 9"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(UserError, match=message):
        RowFormat(10, **arguments)
