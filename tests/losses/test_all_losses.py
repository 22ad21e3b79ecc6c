"""Every loss, by one set of checks: value against NumPy in float64, gradients, half precision, extremes, compile."""

import cases_first
import cases_logits
import numpy as np
import pytest
import torch

from limbeck import losses
from limbeck.errors import UserError

CASES = {case.name: case for module in (cases_first, cases_logits) for case in module.CASES}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def rows(n=7, c=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(n, c, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(c, (n,), generator=generator)


@pytest.mark.parametrize("weights", ["all", "mask", "real", "none"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 5), (2, 2), (33, 100)])
def test_value_equals_the_equation_in_float64(case, shape, weights):
    student, teacher, labels = rows(*shape)
    weight = {
        "all": None,
        "mask": torch.arange(shape[0]) % 2 == 0,
        "real": torch.arange(shape[0]) + 0.5,
        "none": torch.zeros(shape[0]),
    }[weights]
    plain = np.ones(shape[0]) if weight is None else weight.double().numpy()
    expected = case.reference(student.numpy(), teacher.numpy(), labels.numpy(), plain)
    assert case(student, teacher, labels, weight).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_module_twin_gives_the_same(case):
    student, teacher, labels = rows()
    weight = torch.arange(7) % 3 > 0
    module = case.module(**case.settings)
    torch.testing.assert_close(
        module(student, teacher, labels, weight), case(student, teacher, labels, weight), rtol=0, atol=0
    )


def test_gradient(case):
    student, teacher, labels = rows()
    student.requires_grad_(True)
    weight = torch.arange(7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: case(s, teacher, labels, weight), student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(case, dtype):
    student, teacher, labels = rows(dtype=dtype)
    student.requires_grad_(True)
    loss = case(student, teacher, labels)
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.grad.dtype == dtype
    expected = case(student.detach().double(), teacher.double(), labels)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-6)


EXTREMES = {
    "huge": lambda x: torch.where(torch.arange(x.numel()).view_as(x) % 3 == 0, 1e4, -1e4),
    "constant rows": torch.zeros_like,
    "one constant row": lambda x: torch.cat([torch.zeros_like(x[:1]), x[1:]]),
    "small": lambda x: x * 1e-6,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 50.0])
@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_loss_and_gradient_are_finite_at_extremes(case, extreme, whose, temperature, dtype):
    student, teacher, labels = rows(dtype=torch.float32)
    student = EXTREMES[extreme](student) if whose != "teacher" else student
    teacher = EXTREMES[extreme](teacher) if whose != "student" else teacher
    student = student.to(dtype).requires_grad_(True)
    more = {"temperature": temperature} if case.tempered else {}
    loss = case(student, teacher.to(dtype), labels, **more)
    loss.backward()
    assert loss.isfinite()
    # A gradient beyond fp16's range is the format's limit; NaN never is.
    assert not student.grad.isnan().any()
    assert dtype == torch.float16 or student.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 5), (4, 2), (1, 2), (4, 1)])
def test_edge_shapes_are_finite(case, shape):
    if shape[1] < case.least_classes:
        pytest.skip(f"{case.name} needs {case.least_classes} classes")
    student, teacher, labels = rows(*shape, dtype=torch.float32)
    student.requires_grad_(True)
    loss = case(student, teacher, labels)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_no_row_counts(case):
    student, teacher, labels = rows()
    student.requires_grad_(True)
    loss = case(student, teacher, labels, torch.zeros(7))
    loss.backward()
    assert loss.item() == 0
    assert (student.grad == 0).all()


def test_rows_without_weight_are_left_out(case):
    student, teacher, labels = rows()
    kept = torch.tensor([True, True, False, True, False, True, True])
    torch.testing.assert_close(case(student, teacher, labels, kept), case(student[kept], teacher[kept], labels[kept]))


def test_teacher_is_neither_written_to_nor_differentiated(case):
    student, teacher, labels = rows()
    teacher.requires_grad_(True)
    before = teacher.detach().clone()
    case(student.requires_grad_(True), teacher, labels).backward()
    assert torch.equal(teacher, before)
    assert teacher.grad is None


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_compiles_as_one_graph_with_the_same_gradient(case, spread):
    student, teacher, labels = rows(dtype=torch.float32)
    student = (spread * student).requires_grad_(True)
    compiled = torch.compile(case, fullgraph=True, backend="aot_eager")
    for weight in (None, torch.arange(7) % 3):
        ours, theirs = (loss(student, teacher, labels, weight) for loss in (compiled, case))
        torch.testing.assert_close(ours, theirs)
        gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5 * (1 + gradients[1].abs().max().item()))


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.zero_at_teacher], ids=lambda case: case.name)
def test_a_student_that_equals_its_teacher_has_no_loss(case):
    student, _, labels = rows()
    assert case(student, student.clone(), labels).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.zeros(3, 4, 2), torch.zeros(3, 4), "student_logits: got (3, 4, 2) torch.float32, expected float logits"),
        (torch.zeros(3, 4), torch.zeros(4), "teacher_logits: got (4,) torch.float32, expected float logits"),
        (torch.zeros(3, 4), torch.zeros(3, 5), "teacher_logits: got (3, 5), expected the student's shape (3, 4)"),
        (torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4), "student_logits: got (3, 4) torch.int64, expected"),
    ],
)
def test_wrong_logits_are_named(case, student, teacher, message):
    with pytest.raises(UserError) as error:
        case(student, teacher, torch.zeros(3, dtype=torch.long))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("case", [case for case in CASES.values() if case.tempered], ids=lambda case: case.name)
def test_wrong_temperature_is_named(case, temperature):
    with pytest.raises(UserError, match="temperature: got .*, expected a number greater than 0"):
        case(*rows(), temperature=temperature)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 4]), "labels: got values from 0 to 4, expected 0 to 3"),
        (torch.tensor([0, -1, 2]), "labels: got values from -1 to 2, expected 0 to 3"),
        (torch.tensor([0, 1]), "labels: got (2,) torch.int64, expected 3 whole numbers"),
        (torch.tensor([0.0, 1.0, 2.0]), "labels: got (3,) torch.float32, expected 3 whole numbers"),
    ],
)
def test_wrong_labels_are_named(labels, message):
    with pytest.raises(UserError) as error:
        losses.label_revision_loss(torch.zeros(3, 4), torch.zeros(3, 4), labels)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("call_it", "message"),
    [
        (lambda s, t: losses.kd_loss(s, t, reduction="sum"), "reduction: got 'sum', expected 'batchmean' or 'mean'"),
        (lambda s, t: losses.dist_loss(s, t, min_spread=-1), "min_spread: got -1, expected a number of at least 0"),
        (lambda s, t: losses.cmkd_loss(s, t, min_spread=-1), "min_spread: got -1, expected a number of at least 0"),
        (
            lambda s, t: losses.standardize_logits(s, min_spread=-1),
            "min_spread: got -1, expected a number of at least 0",
        ),
        (lambda s, t: losses.dist_loss(s, t, scale="both"), "scale: got 'both', expected 'code' or 'paper'"),
        (lambda s, t: losses.kd_loss(s, t, weight=torch.ones(2)), "weight: got (2,), expected one a row, (3,)"),
    ],
)
def test_wrong_settings_are_named(call_it, message):
    with pytest.raises(UserError) as error:
        call_it(torch.zeros(3, 4), torch.zeros(3, 4))
    assert str(error.value) == message
