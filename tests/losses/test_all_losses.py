"""Every loss, by the common checks of ``limbeck.testing``, and how wrong arguments are named."""

import cases_first
import cases_logits
import pytest
import torch

from limbeck import losses
from limbeck.errors import UserError
from limbeck.testing import check_loss_across_processes, loss_checks

CASES = {case.name: case for module in (cases_first, cases_logits) for case in module.CASES}


# One group of processes serves all losses.
CHECKS = [(name, check) for name, case in CASES.items() for check in loss_checks(case) if check != "processes"]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def rows(n=7, c=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(n, c, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(c, (n,), generator=generator)


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[f"{name}-{check}" for name, check in CHECKS])
def test_loss(name, check, device, dtype):
    loss_checks(CASES[name])[check](CASES[name], device, dtype)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.across_processes is not None])
def test_two_processes_equal_one(pair, name):
    check_loss_across_processes(CASES[name], pair.processes)


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
@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.takes("temperature")], ids=lambda case: case.name
)
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
