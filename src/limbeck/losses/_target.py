"""A row split into its target class and the others, in log space, for losses that treat the two apart."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import UserError


class Split(NamedTuple):
    """(N, 1) logits of one class a row, and (N, C - 1) logits of all others, in their order."""

    target: Tensor
    others: Tensor


def check_others(logits: Tensor) -> None:
    """Raise ``UserError`` unless there are classes beside the target.

    Example:
        >>> check_others(torch.zeros(3, 1))
        Traceback (most recent call last):
        limbeck.errors.UserError: student_logits: got 1 class, expected at least 2
    """
    if logits.shape[1] < 2:
        raise UserError("student_logits: got 1 class, expected at least 2")


def split(logits: Tensor, labels: Tensor) -> Split:
    """Separate the logit of each row's class from the others.

    Gathered, not masked: no row depends on a boolean mask's count, so there is no device synchronisation.

    Example:
        >>> split(torch.tensor([[1., 2., 3.]]), torch.tensor([1]))
        Split(target=tensor([[2.]]), others=tensor([[1., 3.]]))
    """
    column = labels.long()[:, None]
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    return Split(logits.gather(1, column), logits.gather(1, others + (others >= column)))


def binary_log_probabilities(parts: Split) -> Tensor:
    """Return (N, 2) logarithms of the softmax's probability of the target and of all others together.

    Example:
        >>> binary_log_probabilities(split(torch.zeros(1, 4), torch.tensor([0]))).exp()
        tensor([[0.2500, 0.7500]])
    """
    return F.log_softmax(torch.cat([parts.target, parts.others.logsumexp(1, keepdim=True)], dim=1), dim=1)


def divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    """Return (N,) Kullback-Leibler divergences of rows of log-probabilities, teacher from student.

    Example:
        >>> divergence(torch.tensor([[.5, .5]]).log(), torch.tensor([[.25, .75]]).log())
        tensor([0.1438])
    """
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
