"""Losses of rows computed block by block, against the same formulas on all rows at once."""

import pytest
import torch
from closed_form import assert_equal, logits
from test_all_losses import CASES

from limbeck.losses import _blocks

BY_BLOCKS = tuple(f"{name}_loss" for name in ("kd", "dkd", "nkd", "reverse_kl", "jsd", "ttm", "rld", "cmkd"))
ROWS, CLASSES = 11, 5
LABELS = torch.arange(ROWS) % CLASSES


def value_and_gradient(loss, student, *rest):
    student = student.detach().clone().requires_grad_(True)
    value = loss(student, *rest)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.fixture(params=[*BY_BLOCKS, "cmkd_loss from 0"])
def case(request):
    return CASES[request.param]


@pytest.fixture
def blocks(monkeypatch):
    """Count the blocks, of at most three rows each."""
    found, called = [], _blocks._values

    def counted(formula, block, gradient):
        found.append(len(block))
        return called(formula, block, gradient)

    monkeypatch.setattr(_blocks, "_values", counted)
    monkeypatch.setattr(_blocks, "_CPU_ROW_WISE", 1)
    monkeypatch.setattr(_blocks, "block_rows", lambda student, **settings: 3)
    return found


@pytest.mark.parametrize("weight", [None, torch.arange(ROWS) % 3])
def test_blocks_change_nothing(case, weight, blocks, monkeypatch):
    student, teacher = logits(ROWS, CLASSES)
    by_blocks = value_and_gradient(case, student, teacher, LABELS, weight)
    assert blocks == [3, 3, 3, 2]
    monkeypatch.setattr(_blocks, "_CPU_ROW_WISE", 10**9)
    assert_equal(by_blocks, value_and_gradient(case, student, teacher, LABELS, weight), 1e-12)
    assert len(blocks) == 4


def test_no_gradient_wanted_gives_the_same_value(case, blocks):
    student, teacher = logits(ROWS, CLASSES)
    with torch.inference_mode():
        value = case(student, teacher, LABELS)
    torch.testing.assert_close(value, value_and_gradient(case, student, teacher, LABELS)[0])
    assert blocks == 2 * [3, 3, 3, 2]


def test_half_precision_is_computed_in_single(case, blocks):
    student, teacher = (side.bfloat16() for side in logits(ROWS, CLASSES))
    value, gradient = value_and_gradient(case, student, teacher, LABELS)
    expected = value_and_gradient(case, student.double(), teacher.double(), LABELS)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(value.double(), expected[0], rtol=1e-4, atol=1e-6)
    scale = expected[1].abs().max().item()
    torch.testing.assert_close(gradient.double(), expected[1], rtol=2**-8, atol=1e-3 * scale)


def test_backward_may_run_twice(case, blocks):
    student, teacher = logits(ROWS, CLASSES)
    loss = case(student.requires_grad_(True), teacher, LABELS)
    first, second = (torch.autograd.grad(loss, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_first_and_second_derivative(case, blocks):
    student, teacher = logits(ROWS, CLASSES)
    student = (0.3 * student[:4]).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda s: case(s, teacher[:4], LABELS[:4]), student)
    assert torch.autograd.gradgradcheck(lambda s: case(s, teacher[:4], LABELS[:4]), student)


def test_functional_transforms(case, blocks):
    student, teacher = logits(ROWS, CLASSES)
    gradient = torch.func.grad(lambda s: case(s, teacher, LABELS))(student)
    assert not blocks
    torch.testing.assert_close(gradient, value_and_gradient(case, student, teacher, LABELS)[1])


def test_a_temperature_may_want_a_gradient(blocks):
    student, teacher = logits(ROWS, CLASSES)
    temperature = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    for name in ("nkd_loss", "ttm_loss"):
        assert torch.autograd.gradcheck(
            lambda t, n=name: CASES[n](student, teacher, LABELS, temperature=t), temperature
        )
    assert not blocks


def test_only_large_tensors_are_cut():
    assert _blocks.block_rows(torch.zeros(64, 100)) == 64
    large = torch.zeros(1, 100).expand(2**16, 100)
    assert 1000 < _blocks.block_rows(large) < 2**16 / 3
    assert _blocks.block_rows(large, width=100) == _blocks.block_rows(large) // 100
