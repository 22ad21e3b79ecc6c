"""The virtual teacher of Tf-KD (reg): a hand-made distribution that is right every time."""

import torch
from torch import Tensor

from limbeck.errors import UserError


def virtual_probabilities(labels: Tensor, num_classes: int, *, correct: float = 0.99) -> Tensor:
    """Give the true class the probability ``correct`` and share the rest evenly among the others.

    Args:
        labels: (N,) true classes.
        num_classes: Number of classes C, at least 2.
        correct: Probability of the true class, in (0, 1).

    Returns:
        (N, C) probabilities in fp32.

    Raises:
        UserError: If ``num_classes`` is below 2 or ``correct`` outside (0, 1).

    References:
        Yuan et al.: Revisiting Knowledge Distillation via Label Smoothing Regularization, CVPR 2020, equation 10.

    Example:
        >>> virtual_probabilities(torch.tensor([1]), 3, correct=0.9)
        tensor([[0.0500, 0.9000, 0.0500]])
    """
    if num_classes < 2:
        raise UserError(f"num_classes: got {num_classes}, expected at least 2")
    if not 0 < correct < 1:
        raise UserError(f"correct: got {correct}, expected a number between 0 and 1, both excluded")
    others = torch.full((len(labels), num_classes), (1 - correct) / (num_classes - 1), device=labels.device)
    return others.scatter(1, labels.long()[:, None], correct)


def virtual_logits(labels: Tensor, num_classes: int, *, correct: float = 0.99) -> Tensor:
    """Return the logarithms of :func:`virtual_probabilities`, so that a softmax gives those back.

    Example:
        >>> virtual_logits(torch.tensor([1]), 3, correct=0.9).softmax(1)
        tensor([[0.0500, 0.9000, 0.0500]])
    """
    return virtual_probabilities(labels, num_classes, correct=correct).log()
