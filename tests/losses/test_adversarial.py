"""LW-KD's adversarial loss: which part has a gradient for what, and that both parts can be trained."""

import pytest
import torch
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.losses import AdversarialLoss


@pytest.fixture
def game():
    torch.manual_seed(0)
    loss = AdversarialLoss(4, temperature=2.0)
    student, teacher = torch.randn(16, 4, requires_grad=True), 3 * torch.randn(16, 4)
    return loss, student, teacher, torch.randint(4, (16,))


def grads(module):
    return [parameter.grad for parameter in module.parameters()]


def test_the_students_part_is_minus_log_d_and_gives_the_discriminator_no_gradient(game):
    loss, student, teacher, labels = game
    loss.eval()
    value = loss(student, teacher, labels)
    scores = loss.discriminator(F.softmax(student / 2, dim=1), labels)
    torch.testing.assert_close(value, -torch.log(torch.sigmoid(scores)).mean())
    value.backward()
    assert student.grad.abs().sum() > 0
    assert all(grad is None for grad in grads(loss))


def test_the_discriminators_part_is_cross_entropy_and_gives_the_student_no_gradient(game):
    loss, student, teacher, labels = game
    loss.eval()
    value = loss.auxiliary_loss(student, teacher, labels)
    real = loss.discriminator(F.softmax(teacher / 2, dim=1), labels)
    fake = loss.discriminator(F.softmax(student / 2, dim=1), labels)
    scores, truth = torch.cat([real, fake]), torch.cat([torch.ones(16), torch.zeros(16)])
    torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(scores, truth))
    value.backward()
    assert student.grad is None
    assert all(grad is not None for grad in grads(loss))


def test_one_backward_pass_trains_both(game):
    loss, student, teacher, labels = game
    loss.eval()
    (loss(student, teacher, labels) + loss.auxiliary_loss(student, teacher, labels)).backward()
    together = [student.grad, *grads(loss)]
    student.grad = None
    loss.zero_grad()
    loss(student, teacher, labels).backward()
    loss.auxiliary_loss(student, teacher, labels).backward()
    for one, other in zip(together, [student.grad, *grads(loss)], strict=True):
        torch.testing.assert_close(one, other)


def test_the_discriminator_learns_to_separate_and_the_student_to_be_inseparable(game):
    loss, student, teacher, labels = game
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    first = loss.auxiliary_loss(student, teacher, labels).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss.auxiliary_loss(student, teacher, labels).backward()
        optimizer.step()
    assert loss.auxiliary_loss(student, teacher, labels).item() < 0.95 * first
    found_out = loss(student, teacher, labels).item()
    mover = torch.optim.Adam([student], lr=0.1)
    for _ in range(100):
        mover.zero_grad()
        loss(student, teacher, labels).backward()
        mover.step()
    assert loss(student, teacher, labels).item() < found_out


def test_rows_without_weight_are_left_out(game):
    loss, student, teacher, labels = game
    loss.eval()
    kept = torch.arange(16) < 5
    torch.testing.assert_close(loss(student, teacher, labels, kept), loss(student[kept], teacher[kept], labels[kept]))
    assert loss(student, teacher, labels, torch.zeros(16)).item() == 0


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_at_extremes_and_under_autocast(game, dtype, scale):
    loss, student, teacher, labels = game
    student = (student.detach() * scale).to(dtype).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(student, teacher.to(dtype), labels) + loss.auxiliary_loss(student, teacher.to(dtype), labels)
    assert value.dtype == torch.float32
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads(loss))


def test_labels_out_of_range_are_named(game):
    loss, student, teacher, _ = game
    with pytest.raises(UserError, match="labels: got values from 9 to 9, expected 0 to 3"):
        loss(student, teacher, torch.full((16,), 9))
