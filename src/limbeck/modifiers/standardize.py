"""Logit standardization (LSKD) in front of any loss."""

from torch import Tensor

from limbeck.losses import MIN_SPREAD
from limbeck.losses.spread import check_min_spread
from limbeck.losses.standardize import standardize_logits
from limbeck.modifiers.base import Modified, Modifier


class StandardizeLogits(Modifier):
    """Bring every row of both sides to zero mean and unit deviation; see :func:`limbeck.losses.standardize_logits`.

    The temperature is the loss's own; no factor comes with it.

    Args:
        min_spread: The least deviation that a row is divided by [ours]; 0 is the published formula everywhere.

    Raises:
        UserError: If ``min_spread`` is negative.

    References:
        Sun et al.: Logit Standardization in Knowledge Distillation, CVPR 2024, arXiv 2403.01427.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1., 2., 3.]])
        >>> student, teacher, factor, _ = StandardizeLogits()(rows, 5 * rows + 1, torch.tensor([2]), 0.0)
        >>> bool(torch.allclose(student, teacher)), factor
        (True, 1.0)
    """

    ignores_scale = True

    def __init__(self, *, min_spread: float = MIN_SPREAD) -> None:
        super().__init__()
        check_min_spread(min_spread)
        self.min_spread = min_spread

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, progress: float) -> Modified:  # noqa: ARG002
        """Standardize (N, C) logits of both sides, in fp32; labels and progress are not needed."""
        student, teacher = (
            standardize_logits(side, min_spread=self.min_spread) for side in (student_logits, teacher_logits)
        )
        return Modified(student, teacher)

    def extra_repr(self) -> str:
        """Show the least spread."""
        return f"min_spread={self.min_spread:g}"
