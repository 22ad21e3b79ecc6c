"""``check_loss`` accepts a sound loss, and each of its checks rejects the mistake that it is there for."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from limbeck.errors import UserError
from limbeck.rows import full, row_mean
from limbeck.testing import LossCase, Processes, check_loss, check_loss_across_processes, loss_checks


def brier(student, teacher, weight=None):
    """The squared error of probabilities: right in every respect, and the start of each mistake below."""
    rows = (full(student).softmax(1) - full(teacher.detach()).softmax(1)).square().sum(1)
    return row_mean(rows, weight)


def in_numpy(student, teacher, labels, weight):
    return np.average(((softmax(student, axis=1) - softmax(teacher, axis=1)) ** 2).sum(1), weights=weight)


class Brier(torch.nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, student, teacher, labels=None, weight=None):
        return self.scale * brier(student, teacher, weight)


def doubled(student, teacher, weight=None):
    return 2 * brier(student, teacher, weight)


def constant_on_one_side(student, teacher, weight=None):
    return brier(student, teacher, weight) + student[0, 0] - student[0, 0].detach()


def in_half(student, teacher, weight=None):
    return brier(student, teacher, weight).to(student.dtype)


def divides_by_the_spread(student, teacher, weight=None):
    centered = student - student.mean(1, keepdim=True)
    return brier(centered / centered.norm(dim=1, keepdim=True), teacher, weight)


def taught(student, teacher, weight=None):
    return row_mean((full(student).softmax(1) - full(teacher).softmax(1)).square().sum(1), weight)


def writes(student, teacher, weight=None):
    teacher.detach().add_(1)
    return brier(student, teacher, weight)


def unweighted(student, teacher, weight=None):
    return brier(student, teacher)


def of_no_rows(student, teacher, weight=None):
    rows = (full(student).softmax(1) - full(teacher.detach()).softmax(1)).square().sum(1)
    return rows.mean() if weight is None else (rows * weight).sum() / weight.sum()


def of_several_classes(student, teacher, weight=None):
    return brier(student, teacher, weight) / (student.shape[1] > 1)


def looks_at_the_value(student, teacher, weight=None):
    loss = brier(student, teacher, weight)
    return loss if loss.item() > 0.5 else 1 * loss


def steep(student, teacher, weight=None):
    return brier(student, teacher, weight) + 1e3 * (full(student).mean() - full(student).mean().detach())


def offset(student, teacher, weight=None):
    return brier(student, teacher, weight) + 1


def summed(student, teacher, weight=None):
    return brier(student, teacher, weight) * student.shape[0]


@pytest.mark.parametrize("loss", [brier, Brier()], ids=["function", "module"])
def test_a_sound_loss_passes(loss, device, dtype):
    check_loss(loss, reference=in_numpy, device=device, dtype=dtype)


@pytest.mark.parametrize("loss", [taught, in_half])
def test_limbeck_widens_and_detaches_the_logits_of_registered_losses(loss):
    check_loss(loss, reference=in_numpy, registered=True, skip=["processes"])


@pytest.mark.parametrize(
    ("loss", "check"),
    [
        (doubled, "value"),
        (constant_on_one_side, "gradcheck"),
        (in_half, "half_precision"),
        (divides_by_the_spread, "extremes"),
        (of_several_classes, "edge_shapes"),
        (of_no_rows, "no_rows"),
        (unweighted, "row_weights"),
        (taught, "teacher"),
        (writes, "teacher"),
        (looks_at_the_value, "compiled"),
        (offset, "zero_at_teacher"),
        (steep, "bounded"),
    ],
)
def test_a_mistake_is_found(loss, check):
    with pytest.raises(AssertionError, match=rf"{loss.__name__} fails \d+ of 11 checks:(.|\n)*\n{check}: "):
        check_loss(loss, reference=in_numpy, skip=["processes"])


def test_a_twin_that_differs_is_found():
    check_loss(brier, reference=in_numpy, skip=["processes"], twin=Brier)
    with pytest.raises(AssertionError, match="brier fails 1 of 12 checks:\ntwin: "):
        check_loss(brier, reference=in_numpy, skip=["processes"], twin=lambda: Brier(2.0))


def test_a_loss_that_depends_on_the_number_of_processes_is_found():
    with Processes(2) as processes:
        check_loss_across_processes(LossCase(brier, in_numpy), processes)
        with pytest.raises(AssertionError, match=r"2 processes: got .*, expected"):
            check_loss_across_processes(LossCase(summed, in_numpy), processes)
        with pytest.raises(UserError, match="inner: cannot be pickled, expected a loss at the top level of a module"):
            check_loss_across_processes(LossCase(lambda *sides: 0, in_numpy, name="inner"), processes)


def test_an_unknown_check_is_named():
    with pytest.raises(UserError, match="unknown check 'compile'; did you mean 'compiled'"):
        check_loss(brier, reference=in_numpy, skip=["compile"])


def test_only_what_is_claimed_is_checked():
    claimed = loss_checks(LossCase(brier, in_numpy, twin=Brier))
    fewer = LossCase(brier, in_numpy, zero_at_teacher=False, bounded=False, across_processes=None)
    assert set(claimed) - set(loss_checks(fewer)) == {"twin", "zero_at_teacher", "bounded", "processes"}
