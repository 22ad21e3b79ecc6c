"""DIST's gradient in closed form against autograd of the plain formula."""

import math

import pytest
import torch
from closed_form import EXTREMES, assert_equal, changed, logits

from limbeck import losses
from limbeck.errors import UserError
from limbeck.losses._correlation import correlation_distance as formula


def weights(kind, rows):
    generator = torch.Generator().manual_seed(1)
    return {
        "all": None,
        "mask": torch.rand(rows, generator=generator) < 0.6,
        "real": torch.rand(rows, generator=generator),
        "none": torch.zeros(rows),
    }[kind]


# No bound, the usual one, and one that binds about half of the rows and columns of random logits.
SPREADS = (0.0, losses.MIN_SPREAD, 3.0)


def closed(student, teacher, temperature=4.0, weight=None, min_spread=0.0):
    return losses.dist_parts(student, teacher, temperature=temperature, weight=weight, min_spread=min_spread)


def plain(student, teacher, temperature=4.0, weight=None, min_spread=0.0):
    scales = (1.0, 0.0), (0.0, 1.0)
    return [formula(student, teacher, temperature, False, weight, scale, min_spread) for scale in scales]


def value_and_gradient(function, student, teacher, shares=(2.0, 1.0), **settings):
    student = student.detach().clone().requires_grad_(True)
    parts = function(student, teacher, **settings)
    (gradient,) = torch.autograd.grad(shares[0] * parts[0] + shares[1] * parts[1], student)
    return torch.stack([part.detach() for part in parts]).double(), gradient.double()


@pytest.mark.parametrize("kind", ["all", "mask", "real", "none"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(1, 5), (9, 2), (7, 1), (100, 40), (300, 1000), (40, 21841), (9000, 19)])
def test_single_precision_equals_the_formula_in_double(shape, temperature, kind):
    student, teacher = logits(*shape)
    settings = {"temperature": temperature, "weight": weights(kind, shape[0]), "min_spread": 3.0 * (kind == "real")}
    ours = value_and_gradient(closed, student.float(), teacher.float(), **settings)
    assert_equal(ours, value_and_gradient(plain, student.float().double(), teacher.float().double(), **settings), 1e-5)


@pytest.mark.parametrize("min_spread", SPREADS)
@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (-3.0, 0.5)])
@pytest.mark.parametrize("kind", ["all", "mask", "real", "none"])
@pytest.mark.parametrize("shape", [(10, 4), (10, 33), (11, 2), (3, 5)])
def test_blocks_change_nothing(small_blocks, shape, kind, shares, min_spread):
    student, teacher = logits(*shape)
    settings = {"weight": weights(kind, shape[0]), "shares": shares, "min_spread": min_spread}
    ours = value_and_gradient(closed, student, teacher, **settings)
    assert_equal(ours, value_and_gradient(plain, student, teacher, **settings), 1e-11)


@pytest.mark.parametrize("min_spread", SPREADS)
@pytest.mark.parametrize("classes", [6, 50])
@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extremes_equal_the_formula(small_blocks, extreme, whose, classes, min_spread):
    student, teacher = changed(*logits(12, classes), extreme, whose)
    ours, theirs = (
        value_and_gradient(function, student, teacher, min_spread=min_spread) for function in (closed, plain)
    )
    assert_equal(ours, theirs, 1e-7)


@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
def test_a_side_without_any_variation_adds_no_rounding(whose):
    student, teacher = logits(12, 7, dtype=torch.float32)
    student = torch.zeros_like(student) if whose != "teacher" else student
    teacher = torch.zeros_like(teacher) if whose != "student" else teacher
    values, gradient = value_and_gradient(closed, student, teacher)
    torch.testing.assert_close(values, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert gradient.isfinite().all()
    # An informative teacher's gradient is about 0.1 here.
    assert whose == "student" or gradient.abs().max() < 1e-7


def test_nearly_constant_columns_of_many_rows_keep_their_digits():
    student, teacher = logits(60000, 5)
    student, teacher = (0.01 * student).float(), (0.01 * teacher).float()
    student[:, 0] += 5
    teacher[:, 0] += 5
    ours = value_and_gradient(closed, student, teacher, temperature=1.0)
    theirs = value_and_gradient(plain, student.double(), teacher.double(), temperature=1.0)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-5)
    assert (ours[1] - theirs[1]).norm() < 1e-4 * theirs[1].norm()


@pytest.mark.parametrize("min_spread", SPREADS)
@pytest.mark.parametrize("kind", ["all", "real"])
@pytest.mark.parametrize("classes", [4, 33])
def test_gradcheck(small_blocks, classes, kind, min_spread):
    student, teacher = logits(7, classes)
    settings = {"weight": weights(kind, 7), "min_spread": min_spread}
    assert torch.autograd.gradcheck(lambda s: closed(s, teacher, **settings), student.requires_grad_(True))


def test_a_bound_is_passed_without_a_step():
    student, teacher = logits(9, 5)
    values = [losses.dist_loss(scale * student, teacher, temperature=4.0) for scale in torch.linspace(0.05, 1, 400)]
    steps = torch.stack(values).diff().abs()
    assert steps.max() < 0.5


def test_logits_that_vary_enough_have_the_published_loss():
    student, teacher = logits(9, 40)
    ours, published = (value_and_gradient(closed, student, teacher, min_spread=spread) for spread in (0.5, 0.0))
    assert_equal(ours, published, 0)


@pytest.mark.parametrize(("rows", "classes"), [(64, 2), (64, 1000), (1, 10)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_of_constant_logits_is_that_of_the_bound(rows, classes, temperature):
    labels = torch.arange(rows) % classes
    teacher = 30 * (2 * torch.nn.functional.one_hot(labels, classes).double() - 1)
    _, gradient = value_and_gradient(
        losses.dist_parts, torch.zeros_like(teacher), teacher, (1, 1), temperature=temperature, min_spread=1.0
    )
    # Both terms together: half of it is that of the columns, which have none with one row.
    bound = 2 / (temperature * math.tanh(1 / temperature) * classes**0.5)
    assert 0.3 * bound < rows * gradient.norm(dim=1).max() < 1.5 * bound


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [19, 64])
def test_half_precision_inside_autocast(classes, dtype):
    student, teacher = logits(50, classes, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        values, gradient = value_and_gradient(closed, student, teacher)
    expected = value_and_gradient(plain, student.double(), teacher.double())
    torch.testing.assert_close(values, expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected[1], rtol=torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("classes", [6, 40])
def test_logits_may_have_any_memory_layout(small_blocks, classes):
    student, teacher = logits(classes, 10)
    ours = value_and_gradient(closed, student.t(), teacher.t())
    assert_equal(ours, value_and_gradient(closed, student.t().contiguous(), teacher.t().contiguous()), 1e-12)


def test_logits_that_diverge_but_are_finite(small_blocks):
    for classes in (6, 40):
        student, teacher = (1e12 * side.float() for side in logits(9, classes))
        values, gradient = value_and_gradient(closed, student, teacher)
        assert values.isfinite().all()
        assert gradient.isfinite().all()


def test_backward_may_run_twice():
    student, teacher = logits(9, 40)
    loss = losses.dist_loss(student.requires_grad_(True), teacher)
    first, second = (torch.autograd.grad(loss, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["all", "real"])
def test_second_derivative(small_blocks, kind):
    student, teacher = logits(7, 4)
    settings = {"weight": weights(kind, 7), "min_spread": 1.0}
    student.requires_grad_(True)
    assert torch.autograd.gradgradcheck(lambda s: losses.dist_loss(s, teacher, **settings), student)


def test_functional_transforms(small_blocks):
    student, teacher = logits(12, 4)
    eager = value_and_gradient(closed, student, teacher, shares=(1.0, 1.0))[1]
    torch.testing.assert_close(torch.func.grad(lambda s: sum(closed(s, teacher)))(student), eager)
    batches = student.view(2, 6, 4), teacher.view(2, 6, 4)
    each = torch.stack([losses.dist_loss(*pair) for pair in zip(*batches, strict=True)])
    torch.testing.assert_close(torch.func.vmap(losses.dist_loss)(*batches), each)
    _, tangent = torch.func.jvp(
        lambda s: sum(closed(s, teacher)), (student,), (torch.ones_like(student[:, :1]) * student,)
    )
    torch.testing.assert_close(tangent, (eager * student).sum())


def test_the_value_without_a_gradient_is_the_same():
    student, teacher = logits(9, 40)
    with_graph = losses.dist_loss(student.clone().requires_grad_(True), teacher)
    with torch.inference_mode():
        assert losses.dist_loss(student, teacher).item() == with_graph.item()


@pytest.mark.parametrize("min_spread", SPREADS)
@pytest.mark.parametrize("kind", ["all", "real"])
def test_compiled_gradient_is_the_same(kind, min_spread):
    student, teacher = logits(9, 5)
    settings = {"temperature": 4.0, "weight": weights(kind, 9), "min_spread": min_spread}
    compiled = torch.compile(losses.dist_parts, fullgraph=True, backend="aot_eager")
    ours, theirs = (value_and_gradient(function, student, teacher, **settings) for function in (closed, compiled))
    assert_equal(ours, theirs, 1e-11)


def test_weights_may_require_a_gradient():
    student, teacher = logits(9, 5)
    weight = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    for spread in SPREADS:
        assert torch.autograd.gradcheck(
            lambda w, d=spread: losses.dist_loss(student, teacher, weight=w, min_spread=d), weight
        )


def test_no_rows_have_no_loss():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = losses.dist_loss(student, torch.zeros(0, 5))
    loss.backward()
    assert loss.item() == 0
    assert student.grad.shape == (0, 5)


def test_weight_of_another_length_is_named():
    student, teacher = logits(9, 5)
    with pytest.raises(UserError, match=r"weight: got \(8,\), expected one a row, \(9,\)"):
        losses.dist_loss(student, teacher, weight=torch.ones(8))
