"""The gradient of CMKD's Pearson part in closed form against autograd of the formula."""

import pytest
import torch
from closed_form import EXTREMES, assert_equal, changed, logits

from limbeck.errors import UserError
from limbeck.losses._row_correlation import Bounds, distance_formula, row_distances

BOUNDS = Bounds(scale=40.0, variance=1e-3, norm=0.1)


def value_and_gradient(function, student, teacher, temperature=4.0):
    student = student.detach().clone().requires_grad_(True)
    distances = function(student, teacher, temperature, BOUNDS)
    shares = torch.linspace(-1, 2, len(distances), dtype=distances.dtype)
    (gradient,) = torch.autograd.grad((shares * distances).sum(), student)
    return distances.detach().double(), gradient.double()


@pytest.mark.parametrize("temperature", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(9, 3), (100, 40), (300, 1000), (40, 21841), (9000, 19)])
def test_single_precision_equals_the_formula_in_double(shape, temperature):
    student, teacher = logits(*shape, dtype=torch.float32)
    expected = value_and_gradient(distance_formula, student.double(), teacher.double(), temperature)
    assert_equal(value_and_gradient(row_distances, student, teacher, temperature), expected, 1e-5, least=0.1)


@pytest.mark.parametrize("classes", [6, 50])
@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extremes_in_small_blocks_equal_the_formula(small_blocks, extreme, whose, classes):
    student, teacher = changed(*logits(11, classes), extreme, whose)
    ours = value_and_gradient(row_distances, student, teacher)
    assert_equal(ours, value_and_gradient(distance_formula, student, teacher), 1e-9, least=1e-2)


@pytest.mark.parametrize("classes", [4, 33])
def test_gradcheck(small_blocks, classes):
    student, teacher = logits(7, classes)
    assert torch.autograd.gradcheck(lambda s: row_distances(s, teacher, 1.0, BOUNDS), student.requires_grad_(True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    student, teacher = logits(50, 19, dtype=dtype)
    values, gradient = value_and_gradient(row_distances, student, teacher)
    expected = value_and_gradient(distance_formula, student.double(), teacher.double())
    torch.testing.assert_close(values, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, expected[1], rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_backward_may_run_twice_but_not_be_differentiated():
    student, teacher = logits(9, 40)
    total = row_distances(student.requires_grad_(True), teacher, 4.0, BOUNDS).sum()
    first, second = (torch.autograd.grad(total, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(UserError, match="cmkd_loss: got create_graph=True, expected False"):
        torch.autograd.grad(total, student, create_graph=True)


def test_no_rows_have_no_distances():
    student = torch.zeros(0, 5, requires_grad=True)
    distances = row_distances(student, torch.zeros(0, 5), 4.0, BOUNDS)
    distances.sum().backward()
    assert distances.shape == (0,)
    assert student.grad.shape == (0, 5)
