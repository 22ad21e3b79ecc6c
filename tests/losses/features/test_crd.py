"""CRD: its value by hand, its banks, and its draws."""

import feature_references as reference
import numpy as np
import pytest
import torch
from torch import nn

from limbeck.errors import UserError
from limbeck.losses.features import CRDLoss, contrastive_loss


class Drawn(CRDLoss):
    """CRD with negatives that a test sets."""

    def draw(self, indices):
        return self.chosen


def fixed(samples=12, negatives=5, n=4, dim=6, labels=None):
    torch.manual_seed(0)
    loss = Drawn([(dim,)], [(dim,)], num_samples=samples, negatives=negatives, dim=dim).double()
    loss.chosen = torch.randint(samples, (n, negatives))
    student, teacher = torch.randn(n, dim, dtype=torch.float64), torch.randn(n, dim, dtype=torch.float64)
    return loss, student, teacher, torch.tensor([3, 1, 11, 0])[:n]


def numpy_parts(loss, student, teacher, indices):
    contrast = loss.contrasts[0]
    with torch.no_grad():
        own, other = (vectors.numpy() for vectors in contrast(student, teacher))
    picked = torch.cat([indices[:, None], loss.chosen], 1)
    banks = contrast.student_bank.numpy().copy(), contrast.teacher_bank.numpy().copy()
    sides = (own, banks[1][picked]), (other, banks[0][picked])
    return [reference.contrast(vectors, others, loss.temperature, loss.samples) for vectors, others in sides]


@pytest.mark.parametrize("weight", [None, [1.0, 0.0, 2.5, 1.0]])
def test_value_is_the_equation(weight):
    loss, student, teacher, indices = fixed()
    plain = np.ones(4) if weight is None else np.array(weight)
    expected = sum(
        reference.mean_of(positive + negative.sum(1), plain)
        for positive, negative in numpy_parts(loss, student, teacher, indices)
    )
    given = None if weight is None else torch.tensor(weight)
    value = loss([student], [teacher], weight=given, indices=indices)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_negatives_of_the_same_known_class_do_not_count():
    loss, student, teacher, indices = fixed()
    labels = torch.tensor([0, 1, 0, 1])
    loss.contrasts[0].classes.copy_(torch.tensor([1, 1, 1, 0, 0, 0, -1, -1, 2, 2, 2, 0]))
    counted = loss.contrasts[0].classes[loss.chosen].numpy() != labels.numpy()[:, None]
    assert not counted.all()
    expected = 0
    for positive, negative in numpy_parts(loss, student, teacher, indices):
        expected += np.mean(positive + (negative * counted).sum(1) * 5 / np.maximum(counted.sum(1), 1))
    assert loss([student], [teacher], labels, indices=indices).item() == pytest.approx(expected, rel=1e-9)


def test_banks_follow_the_embeddings_in_training_only():
    loss, student, teacher, indices = fixed()
    contrast = loss.contrasts[0]
    before = contrast.student_bank.clone(), contrast.teacher_bank.clone()
    loss.eval()([student], [teacher], indices=indices)
    assert torch.equal(contrast.student_bank, before[0])
    assert not contrast.known
    loss.train()([student], [teacher], indices=indices)
    with torch.no_grad():
        embedded = contrast(student, teacher)
    rest = [row for row in range(12) if row not in indices.tolist()]
    for bank, old, vectors in zip((contrast.student_bank, contrast.teacher_bank), before, embedded, strict=True):
        moved = (old[indices] + vectors) / 2
        torch.testing.assert_close(bank[indices], nn.functional.normalize(moved))
        assert torch.equal(bank[rest], old[rest])


def test_constants_are_those_of_the_first_batch():
    loss, student, teacher, indices = fixed()
    loss([student], [teacher], indices=indices)
    first = loss.contrasts[0].constants.clone()
    assert first.all()
    loss([2 * student + 1], [teacher], indices=indices)
    assert torch.equal(loss.contrasts[0].constants, first)


def test_the_gradient_is_that_of_the_banks_as_they_were():
    loss, student, teacher, indices = fixed()
    student.requires_grad_(True)
    quiet, expected = loss.eval()([student], [teacher], indices=indices), None
    (expected,) = torch.autograd.grad(quiet, student)
    (found,) = torch.autograd.grad(loss.train()([student], [teacher], indices=indices), student)
    torch.testing.assert_close(found, expected)


def test_draws_are_of_other_images_and_of_all_of_them():
    loss = CRDLoss([(3,)], [(3,)], num_samples=9, negatives=5)
    indices = torch.arange(9).repeat(60)
    drawn = loss.draw(indices)
    assert drawn.shape == (540, 5)
    assert not (drawn == indices[:, None]).any()
    counts = torch.stack([drawn[indices == own].flatten().bincount(minlength=9) for own in range(9)])
    assert (counts + torch.eye(9) > 0).all()
    assert CRDLoss([(3,)], [(3,)], num_samples=4).negatives == 3


def test_what_is_drawn_follows_torchs_generator():
    loss = CRDLoss([(3,)], [(3,)], num_samples=900, negatives=50)
    torch.manual_seed(3)
    first = loss.draw(torch.arange(4))
    torch.manual_seed(3)
    assert torch.equal(loss.draw(torch.arange(4)), first)


def test_banks_are_part_of_the_state():
    loss, student, teacher, indices = fixed()
    loss([student], [teacher], torch.tensor([0, 1, 0, 1]), indices=indices)
    other = fixed()[0]
    other.load_state_dict(loss.state_dict())
    for name, value in loss.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert {"contrasts.0.student_bank", "contrasts.0.classes", "contrasts.0.known"} <= set(loss.state_dict())


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 50.0])
def test_no_temperature_overflows(temperature):
    loss = CRDLoss([(3,)], [(3,)], num_samples=50, temperature=temperature)
    student = torch.randn(4, 3, requires_grad=True)
    value = loss([student], [torch.randn(4, 3)], indices=torch.arange(4))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_a_single_image_has_no_negatives():
    value = CRDLoss([(3,)], [(3,)], num_samples=1)([torch.ones(1, 3)], [torch.ones(1, 3)], indices=torch.tensor([0]))
    assert value.isfinite()
    assert contrastive_loss(torch.zeros(2), torch.zeros(2, 0), num_samples=1).item() == pytest.approx(1e-7, rel=0.2)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (None, "indices: got None, expected each row's position in the training set"),
        (torch.tensor([0, 1]), "indices: got (2,) torch.int64, expected"),
        (torch.tensor([0.0, 1, 2, 3]), "indices: got (4,) torch.float32, expected"),
        (torch.tensor([0, 1, 2, 12]), "indices: got 0 to 12, expected 0 to 11 (num_samples)"),
        (torch.tensor([0, -1, 2, 3]), "indices: got -1 to 3, expected 0 to 11"),
    ],
)
def test_positions_must_be_given_and_fit(indices, message):
    loss, student, teacher, _ = fixed()
    with pytest.raises(UserError) as error:
        loss([student], [teacher], indices=indices)
    assert message in str(error.value)
