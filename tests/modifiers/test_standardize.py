"""Logit standardization: NumPy in float64, what it is invariant to, gradients, and rows that have no spread."""

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.losses import kd_loss, standardize_logits


def rows(n=7, c=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, c, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("shape", [(7, 5), (1, 2), (0, 3), (33, 100)])
def test_equals_numpy(shape):
    z = rows(*shape)
    x = z.numpy()
    expected = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, ddof=1, keepdims=True) + 1e-7)
    np.testing.assert_allclose(standardize_logits(z).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_rows_shift_and_scale_make_no_difference():
    z = rows(50, 10)
    scale, shift = torch.linspace(0.5, 300, 50)[:, None].double(), torch.linspace(-1e3, 1e3, 50)[:, None].double()
    torch.testing.assert_close(standardize_logits(scale * z + shift), standardize_logits(z), rtol=1e-5, atol=1e-5)
    teacher = rows(50, 10, seed=1)
    plain, moved = (kd_loss(standardize_logits(s), standardize_logits(teacher)) for s in (z, scale * z + shift))
    assert moved.item() == pytest.approx(plain.item(), rel=1e-5)
    assert (standardize_logits(-z) + standardize_logits(z)).abs().max() < 1e-12


def test_gradient():
    assert torch.autograd.gradcheck(standardize_logits, rows().requires_grad_(True))


@pytest.mark.parametrize("min_spread", [0.0, 1.0, 4.0])
def test_a_constant_row_becomes_zeros_and_leaves_the_others_alone(min_spread):
    z = rows()
    z[3] = 0.1
    one, other = z.clone().requires_grad_(True), torch.cat([z[:3], z[4:]]).requires_grad_(True)
    weight = torch.arange(5.0, dtype=torch.float64)
    (standardize_logits(one, min_spread=min_spread) * weight).sum().backward()
    (standardize_logits(other, min_spread=min_spread) * weight).sum().backward()
    assert standardize_logits(one, min_spread=min_spread)[3].abs().max() < 1e-15
    # Without a least spread it has no gradient, with one that of the rows divided by it.
    own = (weight - weight.mean()) / min_spread if min_spread else torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(one.grad[3], own)
    torch.testing.assert_close(torch.cat([one.grad[:3], one.grad[4:]]), other.grad)


def test_rows_that_vary_less_are_divided_by_the_least_spread():
    z = rows()
    x = z.numpy()
    deviation = np.maximum(x.std(axis=1, ddof=1, keepdims=True), 3.0) + 1e-7
    expected = (x - x.mean(axis=1, keepdims=True)) / deviation
    np.testing.assert_allclose(standardize_logits(z, min_spread=3.0).numpy(), expected, rtol=1e-12, atol=1e-12)
    assert 0 < (deviation > 3.1).sum() < len(z)
    assert torch.autograd.gradcheck(lambda s: standardize_logits(s, min_spread=3.0), z.requires_grad_(True))


EXTREMES = {
    "huge": lambda z: torch.where(z > 0, 1e4, -1e4),
    "constant": torch.zeros_like,
    # The mean of 0.1s is not 0.1 in fp32, which must not count as a spread.
    "constant that rounds": lambda z: torch.full_like(z, 0.1),
    "one class": lambda z: z[:, :1],
    "two classes": lambda z: z[:, :2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_value_and_gradient_are_finite_at_extremes(extreme, dtype):
    z = EXTREMES[extreme](rows(7, 7)).to(dtype).requires_grad_(True)
    out = standardize_logits(z)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.abs().max() < 3
    out.square().mul(torch.arange(z.shape[1])).sum().backward()
    assert z.grad.dtype == dtype
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(dtype):
    z = rows(dtype=dtype)
    torch.testing.assert_close(standardize_logits(z).double(), standardize_logits(z.double()), rtol=1e-5, atol=1e-6)


def test_compiles_as_one_graph():
    compiled = torch.compile(standardize_logits, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(rows()), standardize_logits(rows()))


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3), torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 0)]
)
def test_wrong_shapes_and_types(wrong):
    with pytest.raises(UserError, match="logits: got .*, expected float logits of shape"):
        standardize_logits(wrong)
