"""The cross-entropy with the ground truth: of hard, soft and absent labels, on rows that count differently."""

from torch import Tensor
from torch.nn import functional as F

from limbeck.rows import ABSENT, check_logits, full, ground_truth


def cross_entropy(
    logits: Tensor,
    labels: Tensor | None,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """Average the cross-entropy over the rows that have a label, each counted by its weight.

    Args:
        logits: (R, C) float logits; the loss is computed in fp32.
        labels: (R,) true classes, -100 where there is none; (R, C) probabilities; None if all are absent.
        weight: (R,) how much each row counts, or None for all alike.
        label_smoothing: The share of a label that is spread evenly over all classes, in [0, 1).
        total: What the sum over the rows is divided by, instead of their own weights' sum.

    Returns:
        A scalar; without a labeled row a zero that is tied to the graph.

    Raises:
        UserError: If logits or labels are of another shape or type, or a label is out of range.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2., 0.], [0., 0.], [1., 0.]])
        >>> cross_entropy(logits, torch.tensor([0, -100, 1]))
        tensor(0.7201)
        >>> cross_entropy(logits[:1], torch.tensor([[.5, .5]]))
        tensor(1.1269)
    """
    check_logits(logits)
    truth, values = ground_truth(labels, logits), full(logits)
    labels = truth.labels.to(values.dtype) if truth.labels.is_floating_point() else truth.labels
    if weight is None and total is None and truth.labeled is None:
        # A mean over no rows is nan; a sum is a zero that is tied to the graph.
        reduction = "mean" if len(logits) else "sum"
        return F.cross_entropy(values, labels, label_smoothing=label_smoothing, reduction=reduction)
    losses = F.cross_entropy(values, labels, label_smoothing=label_smoothing, reduction="none", ignore_index=ABSENT)
    counted = values.new_ones(len(values)) if truth.labeled is None else truth.labeled.to(values.dtype)
    counted = counted if weight is None else counted * weight
    divisor = counted.sum() if total is None else total
    # With no row that counts the sum is 0, whatever it is divided by.
    return (losses * counted).sum() / (divisor + (divisor == 0))
