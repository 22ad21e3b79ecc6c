"""Hinton's KL divergence with a gradient for both sides, for temperatures that are learned."""

from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.rows import check_pair, full, row_mean


class BothSidesKDLoss(nn.Module):
    """KD at T = 1 that does not detach the teacher: a temperature in front of it changes the teacher's side too.

    Example:
        >>> import torch
        >>> BothSidesKDLoss()(torch.tensor([[2., 1., 0.]]), torch.tensor([[3., 0., 0.]]))
        tensor(0.1768)
    """

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compare (N, C) logits of both sides in fp32, averaged over rows by their (N,) weight."""
        check_pair(student_logits, teacher_logits)
        log_student, log_teacher = (F.log_softmax(full(rows), dim=1) for rows in (student_logits, teacher_logits))
        return row_mean(F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1), weight)
