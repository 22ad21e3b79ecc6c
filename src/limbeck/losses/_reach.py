"""How far a student is drawn at most: bounds of losses that grow without end with the teacher's logits [ours]."""

import torch
from torch import Tensor

# Logits further below the row's largest have a negligible probability: e^-90, or e^-22 at temperature 4.
_REACH = 90.0


def within_reach(teacher_logits: Tensor) -> Tensor:
    """Raise the logits that are more than 90 below the largest of their row to that.

    A target that drops a class puts it 10,000 below the others. Losses of probabilities do not notice the difference,
    but those that follow a logit, or the logarithm of a probability, would follow it there.

    Args:
        teacher_logits: (N, C) float logits.

    Returns:
        (N, C) logits; a row that spans no more than 90 is as it came.

    Example:
        >>> within_reach(torch.tensor([[1., 0., -1e4]]))
        tensor([[  1.,   0., -89.]])
    """
    return torch.maximum(teacher_logits, teacher_logits.amax(dim=1, keepdim=True) - _REACH)


def row_errors(student: Tensor, teacher: Tensor, furthest: float) -> Tensor:
    r"""Return the mean squared error m of each row, and :math:`2 f \sqrt m - f^2` where :math:`\sqrt m` exceeds f.

    This is Huber's loss of the root of m: the gradient of a row far away is no larger than at the distance f.

    Args:
        student: (N, C) values.
        teacher: (N, C) values.
        furthest: f.

    Returns:
        (N,) errors.

    Example:
        >>> row_errors(torch.zeros(2, 1), torch.tensor([[2.], [5.]]), 3.0)
        tensor([ 4., 21.])
    """
    errors = (student - teacher).square().mean(dim=1)
    distances = errors.clamp_min(furthest**2).sqrt()
    return torch.where(errors <= furthest**2, errors, 2 * furthest * distances - furthest**2)
